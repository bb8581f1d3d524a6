"""Lines to devices: bytes in, bytes out."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from csc.errors import DeviceError

# Board -> (program, Debian package, arguments that choose the machine).
QEMU_BOARDS = {
    "qemu-riscv32": ("qemu-system-riscv32", "qemu-system-misc", ("-M", "virt", "-bios", "none")),
    "mps2-an386": ("qemu-system-arm", "qemu-system-arm", ("-M", "mps2-an386")),
    "mps2-an500": ("qemu-system-arm", "qemu-system-arm", ("-M", "mps2-an500")),
    "mps3-an547": ("qemu-system-arm", "qemu-system-arm", ("-M", "mps3-an547")),
}


class Transport(Protocol):
    """A line to a device. Errors are DeviceErrors."""

    where: str

    def write(self, data: bytes) -> None:
        """Send all of `data`."""

    def read(self, count: int, timeout: float) -> bytes:
        """Return 1 to `count` bytes, or none if none came within `timeout` seconds."""

    def close(self) -> None:
        """Give the line back; may be called twice."""


class PipeTransport:
    """A program that serves frames on its standard input and output."""

    def __init__(self, command: list[str], where: str) -> None:
        """Start `command`."""
        self.where = where
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
            )
        except OSError as error:
            raise DeviceError(f"{command[0]} cannot be started: {error.strerror}.") from None

    def _ended(self) -> DeviceError:
        status = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        return DeviceError(
            f"The device {self.where} ended with status {status}" + (f": {said}" if said else ".")
        )

    def write(self, data: bytes) -> None:
        """Send all of `data`."""
        assert self._process.stdin
        try:
            view = memoryview(data)
            while view:
                view = view[self._process.stdin.write(view) :]
        except OSError:
            raise self._ended() from None

    def read(self, count: int, timeout: float) -> bytes:
        """Return 1 to `count` bytes, or none if none came within `timeout` seconds."""
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        if not ready:
            return b""
        data = os.read(self._process.stdout.fileno(), count)
        if not data:
            raise self._ended()
        return data

    def close(self) -> None:
        """End the program."""
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._errors):
            if file:
                file.close()


class QemuTransport(PipeTransport):
    """A board in QEMU, its UART being the line.

    `icount` N makes one instruction take 2**N ns of the machine's time, so that clocks are a
    measure of instructions and the same in every run; without it they follow the host's time.
    """

    def __init__(self, board: str, elf: bytes, icount: int | None = None) -> None:
        """Start QEMU with a firmware. Raises DeviceError where QEMU or the machine is missing."""
        if board not in QEMU_BOARDS:
            known = ", ".join(f"'{name}'" for name in QEMU_BOARDS)
            raise DeviceError(f"There is no machine for the board '{board}'; there is {known}.")
        program, package, machine = QEMU_BOARDS[board]
        if not shutil.which(program):
            raise DeviceError(
                f"{program} was not found; on Debian or Ubuntu run 'apt-get install {package}'."
            )
        with tempfile.NamedTemporaryFile(suffix=".elf", delete=False) as file:
            file.write(elf)
        self._file = Path(file.name)
        line = ["-display", "none", "-monitor", "none", "-serial", "stdio"]
        count = [] if icount is None else ["-icount", f"shift={icount}"]
        super().__init__([program, *machine, *line, *count, "-kernel", file.name], f"qemu:{board}")

    def close(self) -> None:
        """End QEMU."""
        super().close()
        self._file.unlink(missing_ok=True)


class SerialTransport:
    """A serial port, by pyserial."""

    def __init__(self, port: str, baud: int = 115200) -> None:
        """Open a port."""
        try:
            import serial  # type: ignore[import-untyped,unused-ignore]
        except ImportError:
            raise DeviceError(
                "Serial ports need pyserial, which is missing; run 'pip install pyserial'."
            ) from None
        self.where = f"serial:{port}"
        self._failures: tuple[type[Exception], ...] = (serial.SerialException, OSError)
        try:
            self._port: Any = serial.Serial(port, baud, timeout=0)
            self._port.reset_input_buffer()
        except self._failures as error:
            raise DeviceError(f"The serial port {port} cannot be opened: {error}.") from None

    def write(self, data: bytes) -> None:
        """Send all of `data`."""
        try:
            self._port.write(data)
            self._port.flush()
        except self._failures as error:
            raise DeviceError(f"The device {self.where} is gone: {error}.") from None

    def read(self, count: int, timeout: float) -> bytes:
        """Return 1 to `count` bytes, or none if none came within `timeout` seconds."""
        try:
            self._port.timeout = timeout
            first: bytes = self._port.read(1)
            self._port.timeout = 0
            rest: bytes = self._port.read(count - 1) if first else b""
        except self._failures as error:
            raise DeviceError(f"The device {self.where} is gone: {error}.") from None
        return first + rest

    def close(self) -> None:
        """Close the port."""
        self._port.close()


class SocTransport:
    """The model of a whole chip: its CPU runs the firmware instruction by instruction.

    Time passes for the chip only while the host waits for its bytes.
    """

    START_CLOCKS = 200_000  # from reset until the firmware listens, and more
    STEP_CLOCKS = 200_000  # between two looks at the host's time

    def __init__(
        self,
        chip: str,
        elf: bytes,
        clocks_per_bit: int,
        on_mark: Callable[[int, Any], None] | None = None,
        **options: Any,
    ) -> None:
        """Start a chip with a firmware; `options` are those of `csc.Soc`.

        The firmware marks the borders of ops with stores to the exit word; `on_mark` is called
        with the word and the model's totals at each.
        """
        import csc

        self.where = f"soc:{chip}"
        self.soc: Any = csc.Soc(chip, **options)
        with tempfile.NamedTemporaryFile(suffix=".elf") as file:
            file.write(elf)
            file.flush()
            self.soc.load_elf(file.name)
        self._clocks_per_bit = clocks_per_bit
        self._on_mark = on_mark
        self._taken = 0
        self._run(self.START_CLOCKS)

    def _run(self, clocks: int) -> None:
        end = self.soc.clock + clocks
        while self.soc.clock < end:
            reason = self.soc.run(end - self.soc.clock)
            if reason.kind == "trap":
                raise DeviceError(f"The device {self.where} has stopped: {reason}.")
            if reason.kind == "exit" and self._on_mark:
                self._on_mark(reason.value, self.soc.totals)

    def write(self, data: bytes) -> None:
        """Put `data` on the chip's line."""
        self.soc.uart_input(data, self._clocks_per_bit)

    def read(self, count: int, timeout: float) -> bytes:
        """Let the chip run until it has sent something, or for `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            data = bytes(self.soc.uart_output[self._taken : self._taken + count])
            self._taken += len(data)
            if data or time.monotonic() >= deadline:
                return data
            self._run(self.STEP_CLOCKS)

    def close(self) -> None:
        """Nothing is to be given back."""
