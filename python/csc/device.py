"""A model on a device: another processor runs it, the answers come over a line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from csc import _blob_format as blob_fmt
from csc import _frames as fmt
from csc._backend import OpReport
from csc._face import Batch, Face, Result, as_output, live_view
from csc._link import Link, RefusalError
from csc._status import load_error, plan_state, run_error
from csc.blob import Head, TensorInfo
from csc.errors import ChipError, DeviceError, InputError
from csc.image import Image, make_firmware, ram_needed, read_elf
from csc.model import Model, inspect
from csc.soc import Soc
from csc.transport import QemuTransport, SerialTransport, SocTransport, Transport

# Clocks per bit on the SoC model, whose time is the host's: the least, as a power of two, at which
# the firmware never loses a byte.
SOC_UART_DIVISOR = 16
SOC_RAM_BYTES = 4 << 20  # at least
SOC_EXTERNAL_BYTES = 16 << 20  # of a CS2, at least

if TYPE_CHECKING:
    from csc._device_session import DeviceSession
    from csc._profile import Report


@dataclass(frozen=True)
class Identity:
    """What a device says of itself; `counter_hz` is None where the rate is unknown."""

    protocol: str
    board: str
    has_clocks: bool
    has_engine: bool
    has_model: bool
    counter_hz: int | None
    load_room: int
    body_max: int
    stack_bytes: int
    stack_peak: int
    has_plans: bool = False


class Device(Face):
    """A model that runs elsewhere, with the face of `csc.Model`.

    `where` is one of

    * ``qemu:BOARD``: a board in QEMU,
    * ``soc:cs1``: the model of the whole chip, which counts its clocks; it has 4 MiB of RAM, or
      as much more as the model needs,
    * ``soc:cs2``: the same of CS2, which runs the plan of a model; it has 16 MiB of external
      memory, or as much more as the model needs,
    * ``serial:PORT``: a board on a serial port,

    or a transport of your own. `qemu` and `soc` start the firmware this package carries with
    `model` in its image. Elsewhere the firmware runs already: `model` is then sent over the line,
    and without one the device uses the model in its image.

    Nothing is ever sent twice: whatever goes wrong on the line is a DeviceError, after which the
    device is best opened again.
    """

    def __init__(
        self,
        where: str | Transport,
        model: Model | str | os.PathLike[str] | bytes | None = None,
        *,
        timeout: float = 5.0,
        run_timeout: float = 600.0,
        send: bool = False,
        **options: Any,
    ) -> None:
        """Open a device.

        Args:
            where: see above.
            model: a Model, or what `csc.load` takes.
            timeout: seconds to wait for an answer.
            run_timeout: seconds to wait for one run, and for the check of a blob.
            send: send the model over the line also where it could be put into the image.
            options: `elf`, a firmware you built, for qemu and soc; `icount` for qemu, `baud` for
                serial, those of `csc.Soc` for soc.

        Raises:
            DeviceError: there is no such device, or it does not answer as it should.
            FirmwareError: the model does not fit into the image of the board.
            BlobError: the model is not usable.

        """
        loaded = model if isinstance(model, Model) or model is None else Model(model)
        self._transport = _open(where, None if send else loaded, options)
        is_ours = isinstance(where, str) and not where.startswith("serial:")
        self._link = Link(self._transport, timeout)
        self._model = loaded
        self._run_timeout = run_timeout
        self.clocks: int | None = None
        self._plan_state = plan_state(0)
        try:
            self.identity = self._identify()
            if loaded is None or (is_ours and not send):
                self._use_embedded()
            else:
                self.load(loaded)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        """Return name and model, for people."""
        outputs = ", ".join(tensor.name for tensor in self._outputs)
        return f"<csc.Device {self._link.where}: {outputs}>"

    def __enter__(self) -> Device:
        """Return the device; it is closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the device."""
        self.close()

    def close(self) -> None:
        """Give the line back, and end what was started for it."""
        self._transport.close()

    def _identify(self) -> Identity:
        record = self._link.identify()
        features = int(record["features"])
        return Identity(
            protocol=f"{record['version_major']}.{record['version_minor']}",
            board=bytes(record["board"]).rstrip(b"\0").decode(errors="replace"),
            has_clocks=bool(features & fmt.Feature.CLOCKS),
            has_engine=bool(features & fmt.Feature.ENGINE),
            has_model=bool(features & fmt.Feature.EMBEDDED),
            counter_hz=int(record["counter_hz"]) or None,
            load_room=int(record["load_room"]),
            body_max=min(int(record["body_max"]), fmt.BODY_MAX),
            stack_bytes=int(record["stack_bytes"]),
            stack_peak=int(record["stack_peak"]),
            has_plans=bool(features & fmt.Feature.PLANS),
        )

    def refresh(self) -> Identity:
        """Ask the device again who it is; its peak of the stack may have grown."""
        self.identity = self._identify()
        return self.identity

    def reset(self) -> None:
        """Start the firmware again. It holds no model then, unless it is in its image."""
        self._link.ask(fmt.Message.RESET)
        self.refresh()
        if self.identity.has_model:
            self._use_embedded()

    def load(self, model: Model | str | os.PathLike[str] | bytes) -> None:
        """Send a model over the line and use it."""
        loaded = model if isinstance(model, Model) else Model(model)
        blob = loaded._blob.data.tobytes()
        self._link.ask(fmt.Message.LOAD_BEGIN, (len(blob),))
        step = self.identity.body_max - fmt.LOAD_DATA.itemsize
        for offset in range(0, len(blob), step):
            self._link.ask(fmt.Message.LOAD_DATA, (offset,), blob[offset : offset + step])
        self._use(fmt.Message.LOAD_END)

    def _use_embedded(self) -> None:
        self._use(fmt.Message.USE_EMBEDDED)

    def _use(self, message: fmt.Message) -> None:
        """Let the device check and use a model; read all of it but the weights."""
        where = f"the model on {self._link.where}"
        try:
            body = self._link.ask(message, timeout=self._run_timeout)
        except RefusalError as refusal:
            raise load_error(refusal.error, b"", where) from None
        count = int(self._link.record(body, fmt.DESCRIPTION)["head_bytes"])
        head = Head(np.frombuffer(self._read_model(0, count), np.uint8), where)
        if head.plan_offset is not None:
            head.take_plan(self._read_model(head.plan_offset, blob_fmt.PLAN.itemsize))
        if head.entries_place is not None:
            head.take_entries(self._read_model(*head.entries_place))
        super().__init__(head)

    def _read_model(self, start: int, count: int) -> bytes:
        """Return bytes of the model in use."""
        step = self.identity.body_max
        end = start + count
        return b"".join(
            self._link.ask(fmt.Message.READ_MODEL, (offset, min(step, end - offset)))
            for offset in range(start, end, step)
        )

    def describe(self) -> dict[str, Any]:
        """Return what `csc.inspect` says of the model, and under `device` what runs it."""
        return {**inspect(self), "device": asdict(self.identity)}

    def infer(
        self,
        inputs: Mapping[str, ArrayLike] | None = None,
        /,
        *,
        raw: bool = False,
        check: bool = False,
        **named: ArrayLike,
    ) -> Result:
        """Run the model on the device; arguments and result as in `csc.infer`.

        `result.plan` says whether the device's chip ran the model's plan, and if not, why.
        `result.report` has one entry per op, with its clocks where the device counts them; a run by
        plan has clocks of the whole alone, in `device.clocks`.
        With `check` the outputs are compared with the host's, which finds a chip that computes
        wrong without noticing; the device must have been opened with its model.

        Raises:
            DeviceError: the line failed.
            ChipError: the chip failed, or, with `check`, its outputs are not the host's.

        """
        if len(self.entries) == 1 and not check:
            session = self.session()
            return session.run(self.entries[0].name, {**(inputs or {}), **named}, raw=raw)
        batch = self._check_inputs({**(inputs or {}), **named})
        report = [OpReport(op.number, op.name, op.kind) for op in self._blob.ops]
        self.clocks = None
        try:
            outputs = self._collect(batch, raw, lambda row: self._run_row(batch, row, report))
        except RefusalError as refusal:
            names = [op.name for op in self._blob.ops]
            raise run_error(refusal.error, names, self._blob.where) from None
        if check:
            self._compare(outputs, batch, raw)
        return Result(outputs, report, self._plan_state)

    def session(self) -> DeviceSession:
        """Begin a sequence of a model with entries; the device has one sequence at a time.

        Raises InputError where the model has no entries.
        """
        from csc._device_session import DeviceSession

        return DeviceSession(self)

    def _compare(self, outputs: Mapping[str, NDArray[Any]], batch: Batch, raw: bool) -> None:
        """Raise ChipError if the host computes other outputs."""
        if self._model is None:
            raise InputError("check needs the model; open the device with it.")
        inputs = {self._blob.tensors[number].name: a for number, a in batch.arrays.items()}
        for name, values in self._model.infer(inputs, raw=raw).items():
            if not np.array_equal(values.reshape(outputs[name].shape), outputs[name]):
                raise ChipError(
                    f"The output '{name}' of {self._link.where} is not the host's; the chip "
                    f"computes wrong. Run it again, and if it stays so, replace the chip."
                )

    def profile(
        self,
        inputs: Mapping[str, ArrayLike] | None = None,
        *,
        tokens: int | None = None,
        clock_hz: float = 100e6,
    ) -> Report:
        """Run one sequence and report the clocks of every op; see `csc.profile`.

        Bound and MAC peak are those of CS1; waits are known only to `csc.profile` of the SoC model.

        Raises:
            InputError: bad inputs, or the device has no cycle counter.
            DeviceError: the line failed.

        """
        from csc._profile import example_or_given, profile_opened

        given = example_or_given(self, inputs, tokens)
        return profile_opened(self, given, "cs1", self._link.where, clock_hz)

    def _run_row(self, batch: Batch, row: int, report: list[OpReport]) -> list[NDArray[Any]]:
        self._link.ask(fmt.Message.START, (batch.length,))
        for number, array in batch.arrays.items():
            self._set_input(number, array[row].tobytes())
        self._run_started()
        outputs = [self._get_output(tensor, batch.length) for tensor in self._outputs]
        if not self._plan_state.is_used:
            self._add_clocks(report)
        return outputs

    def _run_started(self) -> None:
        """Run what START has begun, and keep what the device says of the run."""
        body = self._link.ask(fmt.Message.RUN, timeout=self._run_timeout)
        ran = self._link.record(body.ljust(fmt.RAN.itemsize, b"\0"), fmt.RAN)
        self._plan_state = plan_state(int(ran["plan"]))
        if self.identity.has_clocks:
            self.clocks = (self.clocks or 0) + int(ran["clocks"])

    def _set_input(self, number: int, data: bytes) -> None:
        step = self.identity.body_max - fmt.SET_INPUT.itemsize
        for offset in range(0, len(data), step):
            part = data[offset : offset + step]
            self._link.ask(fmt.Message.SET_INPUT, (number, offset), part)

    def _get_output(self, tensor: TensorInfo, length: int) -> NDArray[Any]:
        rows = length if tensor.shape[0] is None else tensor.shape[0]
        count = rows * tensor.row_stride * tensor.dtype.itemsize
        step = self.identity.body_max
        parts = [
            self._link.ask(
                fmt.Message.GET_OUTPUT, (tensor.number, offset, min(step, count - offset))
            )
            for offset in range(0, count, step)
        ]
        data = np.frombuffer(b"".join(parts), np.uint8)
        if data.size != count:
            raise self._link.error(f"its output '{tensor.name}' has {data.size} bytes of {count}.")
        return as_output(tensor, live_view(tensor, data, length))

    def _add_clocks(self, report: list[OpReport]) -> None:
        done = 0
        while done < len(report):
            body = self._link.ask(fmt.Message.GET_CLOCKS, (done,))
            records = np.frombuffer(body, fmt.OP_CLOCKS)
            for entry, record in zip(report[done:], records, strict=False):
                self._add_record(entry, record)
            done += len(records)
            if not len(records):
                raise self._link.error(f"it gave no clocks from op {done} on.")

    def _add_record(self, entry: OpReport, record: Any) -> None:
        if self.identity.has_clocks:
            entry.clocks = (entry.clocks or 0) + int(record["clocks"])
        entry.blocks += int(record["blocks"])
        entry.engine_clocks += int(record["engine_clocks"])
        entry.bus_reads += int(record["bus_reads"])
        entry.bus_writes += int(record["bus_writes"])


def _open(where: str | Transport, model: Model | None, options: dict[str, Any]) -> Transport:
    if not isinstance(where, str):
        return where
    kind, _, name = where.partition(":")
    if kind == "serial" and name:
        return SerialTransport(name, **options)
    if kind == "qemu" and name:
        elf = options.pop("elf", None)
        made = read_elf(name, elf) if model is None else make_firmware(model, name, elf=elf)
        return QemuTransport(name, made, **options)
    if kind == "soc" and name:
        return _open_soc(name, model, options)
    raise DeviceError(
        f"There is no device '{where}'; give 'qemu:BOARD', 'soc:cs1', 'soc:cs2' or 'serial:PORT'."
    )


def _open_soc(name: str, model: Model | None, options: dict[str, Any]) -> Transport:
    elf = options.pop("elf", None)
    needed = 0 if model is None else ram_needed(model, name, elf)
    image = Image(read_elf(name, elf), str(elf or name))
    image.set_ram_end(_memory_end(name, needed, options))
    image.set_uart_divisor(SOC_UART_DIVISOR)
    if model is not None:
        image.add_model(model)
    return SocTransport(name, bytes(image.data), SOC_UART_DIVISOR, **options)


def _memory_end(name: str, needed: int, options: dict[str, Any]) -> int:
    """Return where the memory for models ends, and ask for that much of it in the options."""
    if name != "cs2":
        return int(options.setdefault("ram_bytes", max(SOC_RAM_BYTES, needed)))
    base = Soc.EXTERNAL
    return base + int(options.setdefault("external_bytes", max(SOC_EXTERNAL_BYTES, needed - base)))
