"""What executes the ops: the host's CPU, or the CPU with the model of a chip."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csc._blob_format import ALIGN, NONE
from csc._cs2_format import Engine
from csc._csc import ffi, lib
from csc.blob import Blob, aligned_bytes
from csc.chip import Chip
from csc.errors import InputError

OnOp = Callable[[int, bool], None]


@dataclass
class OpReport:
    """What a chip did for one op, summed over the sequences of a call.

    `blocks` are 8x8x8 block products, `engine_clocks` the clocks the engine multiplied,
    `bus_reads` and `bus_writes` 32-bit accesses.
    """

    number: int
    name: str
    kind: str
    blocks: int = 0
    engine_clocks: int = 0
    bus_reads: int = 0
    bus_writes: int = 0
    clocks: int | None = None


@ffi.def_extern()  # type: ignore[untyped-decorator]
def csc_python_on_op(ctx: Any, call: Any, done: int) -> None:
    """Hand the runtime's hook to the Python backend behind `ctx`."""
    ffi.from_handle(ctx).on_op(int(call.index), bool(done))


class Backend:
    """The portable C kernels. `on_op(number, done)` is called around every op if given."""

    #: Whether one sequence can be shared by threads.
    shares_ops = False
    #: Whether it may serve one call after another, that is, keeps no report.
    reusable = True

    def __init__(self, blob: Blob, on_op: OnOp | None = None, threads: int = 1) -> None:
        self.report: list[OpReport] = []
        self.backend = self._make_backend(blob, threads)
        self.hook = self._make_hook(self) if on_op else ffi.NULL
        self.on_op = on_op

    @staticmethod
    def lacks() -> str:
        """Return what is missing to run this here, or ""."""
        return ""

    def _make_backend(self, blob: Blob, threads: int) -> Any:
        return ffi.new("csc_backend_t *", lib.csc_portable_backend())

    def memory(self) -> NDArray[np.uint8] | None:
        """Return the memory to take as arena, where the backend has some of its own."""
        return None

    def _make_hook(self, target: Any) -> Any:
        self._handle = ffi.new_handle(target)
        hook = ffi.new("csc_hook_t *")
        hook.ctx, hook.on_op = self._handle, lib.csc_python_on_op
        return hook


class Avx2Backend(Backend):
    """The kernels with AVX2 instructions."""

    @staticmethod
    def lacks() -> str:
        """Return what is missing, or ""."""
        return "" if lib.csc_host_has_avx2() else "an x86-64 CPU with AVX2"

    def _make_backend(self, blob: Blob, threads: int) -> Any:
        backend = ffi.new("csc_backend_t *")
        lib.csc_host_avx2_backend(backend)
        return backend


class Avx512Backend(Backend):
    """The kernels with AVX-512 instructions, products with VNNI."""

    shares_ops = True

    @staticmethod
    def lacks() -> str:
        """Return what is missing, or ""."""
        return "" if lib.csc_host_has_avx512vnni() else "an x86-64 CPU with AVX-512 VNNI"

    def _unit(self) -> int:
        has_vbmi = bool(lib.csc_host_has_avx512vbmi())
        return int(lib.CSC_AVX512_VBMI if has_vbmi else lib.CSC_AVX512_VNNI)

    def _make_backend(self, blob: Blob, threads: int) -> Any:
        self._packed = blob.packed_weights()
        room = -lib.csc_avx512_room_bytes(blob.view) // -64 * 64
        self._rooms = aligned_bytes(room * threads)
        team = lib.csc_host_team_new(
            self._unit(),
            blob.view,
            ffi.from_buffer(self._packed),
            ffi.from_buffer("uint8_t[]", self._rooms),
            room,
            threads,
        )
        if team == ffi.NULL:
            raise MemoryError("There is no memory for the threads of a run.")
        self._team = ffi.gc(team, lib.csc_host_team_free)
        return lib.csc_host_team_backend(self._team)


class AmxBackend(Avx512Backend):
    """The kernels with AVX-512 instructions, products on the tiles of AMX."""

    @staticmethod
    def lacks() -> str:
        """Return what is missing, or ""."""
        return "" if lib.csc_host_has_amx() else "an x86-64 CPU and a system with AMX-INT8"

    def _unit(self) -> int:
        return int(lib.CSC_AVX512_AMX)


class Cs1Backend(Backend):
    """The portable kernels with every matrix product on a model of the CS1 block engine."""

    reusable = False

    def __init__(self, blob: Blob, on_op: OnOp | None = None, threads: int = 1) -> None:
        super().__init__(blob)
        self.report = [OpReport(op.number, op.name, op.kind) for op in blob.ops]
        self._next = on_op
        self.on_op = self._count
        self.hook = self._make_hook(self)
        self._before = self._counters()

    def _make_backend(self, blob: Blob, threads: int) -> Any:
        self._memory: Any = ffi.new("uint64_t[]", lib.csc_sim_cs1_sizeof() // 8 + 1)
        engine = ffi.cast("csc_sim_cs1_t *", self._memory)
        lib.csc_sim_cs1_init(engine)
        self._host: Any = ffi.new("csc_host_cs1_t *")
        lib.csc_host_cs1_init(self._host, engine)
        self._driver: Any = self._host.driver
        return ffi.addressof(self._host, "backend")

    def _counters(self) -> tuple[int, int, int, int]:
        driver = self._driver
        return driver.blocks, driver.engine_clocks, driver.reads, driver.writes

    def _count(self, number: int, done: bool) -> None:
        now = self._counters()
        if done:
            blocks, clocks, reads, writes = (
                after - before for after, before in zip(now, self._before, strict=True)
            )
            entry = self.report[number]
            entry.blocks += blocks
            entry.engine_clocks += clocks
            entry.bus_reads += reads
            entry.bus_writes += writes
        self._before = now
        if self._next:
            self._next(number, done)


class Cs2Backend(Cs1Backend):
    """A model of the CS2 chip with the blob in its external memory; SRAM is the arena.

    Runs the blob's plan; without one for a run it works like the CS1 backend.
    """

    def _make_backend(self, blob: Blob, threads: int) -> Any:
        """Power up a chip whose external memory begins with the blob."""
        store = -(-len(blob.data) // ALIGN) * ALIGN
        self._external = np.zeros(store + (blob.plan.store_bytes if blob.plan else 0), np.uint8)
        self._external[: len(blob.data)] = blob.data
        self.chip = Chip("cs2", external=self._external)
        self._host = ffi.new("csc_host_cs2_t *")
        start = ffi.from_buffer("uint8_t[]", blob.data, require_writable=False)
        sim, size = self.chip._sim, self._external.size
        lib.csc_host_cs2_init(self._host, sim, start, size, store)
        self._driver = self._host.engine
        self._commands = blob.plan.commands if blob.plan else 0
        self.chip.trace(self._commands)
        return ffi.addressof(self._host, "backend")

    def memory(self) -> NDArray[np.uint8] | None:
        """Return the SRAM."""
        assert self.chip.parameters
        sram = lib.csc_sim_cs2_sram(self.chip._sim)
        return np.frombuffer(ffi.buffer(sram, self.chip.parameters.sram_bytes), np.uint8)

    def _count(self, number: int, done: bool) -> None:
        if number != NONE:
            super()._count(number, done)
        elif not done:
            self.chip.trace(self._commands)
        else:
            for event in self.chip.events:
                if event.engine == Engine.BLOCK and event.tag < len(self.report):
                    self.report[event.tag].engine_clocks += event.completed - event.started


# From the best to the one that always works.
CPU_BACKENDS: dict[str, type[Backend]] = {
    "amx": AmxBackend,
    "avx512vnni": Avx512Backend,
    "avx2": Avx2Backend,
    "portable": Backend,
}
BACKENDS: dict[str, type[Backend]] = {**CPU_BACKENDS, "cs1": Cs1Backend, "cs2": Cs2Backend}


@cache
def _missing(name: str) -> str:
    """Return what is missing for a backend; asked once, since a CPU does not change."""
    return BACKENDS[name].lacks()


def backends() -> list[str]:
    """Return the backends that run here, the one that "host" means first."""
    return [name for name in BACKENDS if not _missing(name)]


@cache
def _best() -> str:
    return backends()[0]


def find_backend(name: str) -> str:
    """Return the backend a name means: "host" is what CSC_BACKEND says, or the best there is.

    Raises InputError for a name nobody knows, and where this CPU lacks what it needs.
    """
    if name == "host":
        name = os.environ.get("CSC_BACKEND", "") or _best()
        if name not in CPU_BACKENDS:
            known = " or ".join(f"'{known}'" for known in CPU_BACKENDS)
            raise InputError(
                f"The environment variable CSC_BACKEND is '{name}'; set it to {known}."
            )
    if name not in BACKENDS:
        known = ", ".join(f"'{known}'" for known in ("host", *BACKENDS))
        raise InputError(f"There is no backend '{name}'; known backends are {known}.")
    if _missing(name):
        here = ", ".join(f"'{known}'" for known in ("host", *backends()))
        raise InputError(
            f"The backend '{name}' needs {_missing(name)}, which this one is not; use {here}."
        )
    return name
