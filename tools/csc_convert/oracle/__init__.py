"""The oracle: an independent NumPy integer implementation of SPEC.md.

It is written from SPEC.md alone and shares no code with the runtime, the writer or the
generated records, so that agreement of the two proves something.
"""

from .arithmetic import EXP, RS, RSQRT, mean8, recip, rq, rsqrt
from .blob import Blob, Op, OracleError, Tensor, read_blob
from .ops import pack_blocks, unpack_blocks
from .run import run

__all__ = [
    "EXP",
    "RS",
    "RSQRT",
    "Blob",
    "Op",
    "OracleError",
    "Tensor",
    "mean8",
    "pack_blocks",
    "read_blob",
    "recip",
    "rq",
    "rsqrt",
    "run",
    "unpack_blocks",
]
