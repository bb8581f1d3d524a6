"""The cffi module; its names come from python/ffi/*.cdef.h and are checked by the C compiler."""

from typing import Any

ffi: Any
lib: Any
