"""The oracle: an independent NumPy integer implementation of SPEC.md.

It is written from SPEC.md alone and shares no code with the runtime, the writer or the
generated records, so that agreement of the two proves something.
"""

from .arithmetic import EXP, RS, RSQRT, mean8, recip, rq, rsqrt
from .blob import Blob, Entry, Op, OracleError, Tensor, read_blob
from .choose import Chooser, greedy
from .ops import pack_blocks, unpack_blocks
from .run import Session, run

__all__ = [
    "EXP",
    "RS",
    "RSQRT",
    "Blob",
    "Chooser",
    "Entry",
    "Op",
    "OracleError",
    "Session",
    "Tensor",
    "greedy",
    "mean8",
    "pack_blocks",
    "read_blob",
    "recip",
    "rq",
    "rsqrt",
    "run",
    "unpack_blocks",
]
