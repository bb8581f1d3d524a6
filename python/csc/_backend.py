"""What executes the ops: the host's CPU, or the CPU with the model of a chip."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from csc._blob_format import ALIGN, NONE
from csc._cs2_format import Engine
from csc._csc import ffi, lib
from csc.blob import Blob, OpInfo
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

    def __init__(self, ops: list[OpInfo], on_op: OnOp | None = None) -> None:
        self.report: list[OpReport] = []
        self.backend = self._make_backend()
        self.hook = self._make_hook(self) if on_op else ffi.NULL
        self.on_op = on_op

    def _make_backend(self) -> Any:
        return ffi.new("csc_backend_t *", lib.csc_portable_backend())

    def use(self, blob: Blob) -> None:
        """Take the blob to run, before the first run; one backend runs one blob."""

    def memory(self) -> NDArray[np.uint8] | None:
        """Return the memory to take as arena, where the backend has some of its own."""
        return None

    def _make_hook(self, target: Any) -> Any:
        self._handle = ffi.new_handle(target)
        hook = ffi.new("csc_hook_t *")
        hook.ctx, hook.on_op = self._handle, lib.csc_python_on_op
        return hook


def has_avx2() -> bool:
    """Whether this CPU and this build have AVX2."""
    return bool(lib.csc_host_avx2_backend(ffi.new("csc_backend_t *")))


class Avx2Backend(Backend):
    """The kernels with AVX2 instructions. Raises InputError where they cannot run."""

    def _make_backend(self) -> Any:
        backend = ffi.new("csc_backend_t *")
        if not has_avx2():
            raise InputError(
                "The backend 'avx2' needs an x86-64 CPU with AVX2, which this one is not; "
                "use 'host' or 'portable'."
            )
        lib.csc_host_avx2_backend(backend)
        return backend


class Cs1Backend(Backend):
    """The portable kernels with every matrix product on a model of the CS1 block engine."""

    def __init__(self, ops: list[OpInfo], on_op: OnOp | None = None) -> None:
        super().__init__(ops)
        self.report = [OpReport(op.number, op.name, op.kind) for op in ops]
        self._next = on_op
        self.on_op = self._count
        self.hook = self._make_hook(self)
        self._power_up()

    def _power_up(self) -> None:
        self._memory: Any = ffi.new("uint64_t[]", lib.csc_sim_cs1_sizeof() // 8 + 1)
        engine = ffi.cast("csc_sim_cs1_t *", self._memory)
        lib.csc_sim_cs1_init(engine)
        self._host: Any = ffi.new("csc_host_cs1_t *")
        lib.csc_host_cs1_init(self._host, engine)
        self._driver: Any = self._host.driver
        self.backend = ffi.addressof(self._host, "backend")
        self._before = self._counters()

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

    def _power_up(self) -> None:
        """Leave it to `use`: the chip needs the blob."""

    def use(self, blob: Blob) -> None:
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
        self.backend = ffi.addressof(self._host, "backend")
        self._before = self._counters()
        self._commands = blob.plan.commands if blob.plan else 0
        self.chip.trace(self._commands)

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


CPU_BACKENDS: dict[str, type[Backend]] = {"portable": Backend, "avx2": Avx2Backend}


def host_backend(ops: list[OpInfo], on_op: OnOp | None = None) -> Backend:
    """Return the best the CPU has, or what the environment variable CSC_BACKEND names."""
    name = os.environ.get("CSC_BACKEND", "")
    if not name:
        name = "avx2" if has_avx2() else "portable"
    if name not in CPU_BACKENDS:
        known = " or ".join(f"'{known}'" for known in CPU_BACKENDS)
        raise InputError(f"The environment variable CSC_BACKEND is '{name}'; set it to {known}.")
    return CPU_BACKENDS[name](ops, on_op)


BACKENDS: dict[str, Callable[[list[OpInfo], OnOp | None], Backend]] = {
    "host": host_backend,
    **CPU_BACKENDS,
    "cs1": Cs1Backend,
    "cs2": Cs2Backend,
}
