"""Write the C source of csc._csc, the private binding (cffi, API mode).

Usage: python build.py OUTPUT.c
CMake runs this. The declarations stand in the *.cdef.h files beside it; the compiler checks them.
"""

import sys
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
DECLARATIONS = ("sim.cdef.h", "runtime.cdef.h")


def main(output: str) -> None:
    """Emit the module's source into `output`."""
    ffi = FFI()
    for name in DECLARATIONS:
        ffi.cdef((HERE / name).read_text())
    ffi.set_source("csc._csc", '#include "host.h"\n')
    ffi.emit_c_code(output)


if __name__ == "__main__":
    main(sys.argv[1])
