"""The built firmware: fresh, small, and a model fits into it without a compiler."""

import importlib.util
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import csc
from blob_factory import encoder_blob, tiny_encoder_blob
from boards import COMPILERS, need_compiler, need_qemu
from building import ROOT, build, run
from csc import _frames as fmt
from csc.image import _HEADER, _SEGMENT, Image, board_elf, boards, work_bytes
from csc.transport import QEMU_BOARDS
from csc_convert import plan_chip

sys.path.insert(0, str(ROOT / "tools"))
import sizes

BOARDS = sorted(COMPILERS)
CSC = Path(sys.executable).parent / "csc"


def test_every_board_has_a_folder_and_an_image():
    folders = sorted(path.parent.name for path in ROOT.glob("firmware/boards/*/board.c"))
    assert folders == BOARDS == boards() == sorted(sizes.BOARDS)
    for board in BOARDS:
        image = Image(board_elf(board), board)
        assert image.board == board
        assert image.record["model_bytes"] == 0


def made_by(board, path):
    """Return the versions of the compilers an ELF file names."""
    prefix = COMPILERS[board][0].removesuffix("gcc")
    return run(f"{prefix}readelf", "-p", ".comment", path).split("\n", 2)[-1]


@pytest.mark.parametrize("board", BOARDS)
def test_images_are_fresh(board, tmp_path):
    """Like every generated file: made anew it has the same bytes ('make firmware')."""
    need_compiler(board)
    built = build(board, f"csc-{board}.elf", tmp_path) / "firmware" / f"csc-{board}.elf"
    committed = ROOT / "python/csc/boards" / f"{board}.elf"
    if made_by(board, built) != made_by(board, committed):
        pytest.skip(f"made by another compiler:{made_by(board, committed)}")
    assert built.read_bytes() == committed.read_bytes(), f"{board}.elf is stale: make firmware"


@pytest.mark.parametrize("board", ["qemu-riscv32", "cs1", "cs2"])
def test_zig_builds_it_too(board, tmp_path):
    """For people with pip alone: the compiler of the ziglang wheel."""
    if not importlib.util.find_spec("ziglang"):
        pytest.skip("the Python package ziglang is missing")
    target = f"csc-{board}.elf"
    elf = build(f"{board}-zig", target, tmp_path) / "firmware" / target
    blob, inputs = tiny_encoder_blob()
    made = csc.make_firmware(blob, board, elf=elf)
    assert Image(made, "made").record["model_bytes"] == len(blob)
    if board == "qemu-riscv32":
        need_qemu(board)
        with csc.Device(f"qemu:{board}", blob, elf=elf) as device:
            got = device.infer(inputs, raw=True)
        for name, values in csc.infer(blob, inputs, raw=True).items():
            np.testing.assert_array_equal(got[name], values)


# ------------------------------------------------------------------------------ the model inside


def segments(elf):
    header = np.frombuffer(elf, _HEADER, 1)[0]
    return np.frombuffer(elf, _SEGMENT, int(header["phnum"]), int(header["phoff"]))


@pytest.mark.parametrize("board", BOARDS)
def test_two_segments_more_and_nothing_else_moves(board):
    blob = tiny_encoder_blob()[0]
    model = csc.load(blob)
    before, after = segments(board_elf(board)), segments(csc.make_firmware(model, board))
    assert len(after) == len(before) + 2
    assert (after[:-2] == before).all()
    weights, work = after[-2:]
    assert weights["filesz"] == weights["memsz"] == len(blob)
    assert (work["filesz"], work["memsz"]) == (0, work_bytes(model))
    assert work_bytes(model) >= model.arena_bytes
    assert all(each["vaddr"] % 64 == 0 == each["offset"] % 64 for each in (weights, work))
    spans = sorted((int(s["paddr"]), int(s["paddr"] + s["memsz"])) for s in after)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


@pytest.mark.parametrize("board", ["mps2-an386", "mps2-an500", "mps3-an547"])
def test_weights_stay_in_read_only_memory(board):
    image = Image(csc.make_firmware(tiny_encoder_blob()[0], board), board).record
    free = Image(board_elf(board), board).record["regions"]
    read_only = free[free["kind"] == fmt.Memory.READ][0]
    assert read_only["first"] <= image["model_address"] < read_only["end"]
    ram = free[free["kind"] == fmt.Memory.RAM][0]
    assert ram["first"] <= image["work_address"] < ram["end"]


def test_model_larger_than_the_memory():
    big = encoder_blob(64, 4, 1, 64, 80_000, 8)[0]
    with pytest.raises(csc.FirmwareError, match=r"needs \d+ bytes, but the board 'cs1'.*ram_bytes"):
        csc.make_firmware(big, "cs1")
    made = Image(csc.make_firmware(big, "cs1", ram_bytes=16 << 20), "made").record
    assert made["regions"]["end"][0] == 16 << 20


def test_memory_that_cannot_be_changed():
    blob = tiny_encoder_blob()[0]
    with pytest.raises(csc.FirmwareError, match="RAM of the board 'mps2-an386' has a fixed size"):
        csc.make_firmware(blob, "mps2-an386", ram_bytes=1 << 24)
    with pytest.raises(csc.FirmwareError, match="does not fit into 1000 bytes"):
        csc.make_firmware(blob, "cs1", ram_bytes=1000)


def test_bad_firmware_files(tmp_path):
    blob = tiny_encoder_blob()[0]
    made = tmp_path / "made.elf"
    made.write_bytes(csc.make_firmware(blob, "cs1", uart_divisor=16))
    assert Image(made.read_bytes(), "made").record["uart_divisor"] == 16
    with pytest.raises(csc.FirmwareError, match="holds a model already"):
        csc.make_firmware(blob, "cs1", elf=made)
    with pytest.raises(csc.FirmwareError, match="is for 'cs1', not 'mps2-an386'"):
        csc.make_firmware(blob, "mps2-an386", elf=made)
    with pytest.raises(csc.FirmwareError, match="cannot be read: No such file"):
        csc.make_firmware(blob, "cs1", elf=tmp_path / "none.elf")
    for content, what in [
        (b"not an ELF file at all", "is no little-endian 32-bit ELF file"),
        (board_elf("cs1")[:40], "is cut short"),
        (board_elf("cs1").replace(fmt.IMAGE_MAGIC, b"x" * 8), "holds no image record"),
    ]:
        made.write_bytes(content)
        with pytest.raises(csc.FirmwareError, match=what):
            csc.make_firmware(blob, "cs1", elf=made)


def test_command_line(tmp_path):
    (tmp_path / "m.cscb").write_bytes(tiny_encoder_blob()[0])

    def firmware(board):
        command = [CSC, "firmware", "m.cscb", "--board", board, "-o", "fw.elf"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    done = firmware("cs1")
    assert (done.returncode, done.stdout) == (0, "Wrote fw.elf.\n")
    assert (tmp_path / "fw.elf").read_bytes() == csc.make_firmware(tmp_path / "m.cscb", "cs1")
    done = firmware("z80")
    assert done.returncode == 2
    assert done.stderr.startswith("csc: There is no firmware for the board 'z80'; there is 'cs1',")


# ------------------------------------------------------------------------------ sizes


def test_sizes_are_below_their_ceilings():
    shown = sizes.shown(sizes.TABLE.read_text())
    assert sorted(shown) == BOARDS
    for board, row in shown.items():
        ceilings = {**sizes.CEILINGS, **sizes.CEILINGS_OF.get(board, {})}
        assert set(row) - {"compiler"} == set(ceilings)
        for what, ceiling in ceilings.items():
            assert int(row[what].replace(",", "")) <= ceiling, (board, what)
    assert all(number(row["stack bound"]) < number(row["stack room"]) for row in shown.values())
    assert number(shown["mps2-an386"]["runtime and ops code"]) <= 24 * 1024  # the target


def number(text):
    return int(text.replace(",", ""))


@pytest.mark.parametrize("board", BOARDS)
def test_sizes_are_what_the_compiler_makes(board, tmp_path):
    need_compiler(board)
    row = sizes.shown(sizes.TABLE.read_text())[board]
    if row.pop("compiler") != f"GCC {sizes.compiler(board)}":
        pytest.skip("SIZES.md was made with another compiler")
    measured = sizes.measure(board, tmp_path)
    assert {what: number(value) for what, value in row.items()} == measured


@pytest.mark.parametrize("board", sorted(QEMU_BOARDS))
def test_stack_used_is_within_the_bound(board):
    """The painted stack of a board that has run every op and answered bad frames."""
    need_qemu(board)
    blob, inputs = tiny_encoder_blob()
    with csc.Device(f"qemu:{board}", blob, send=True) as device:
        device.infer(inputs)
        used = device.refresh()
    assert_stack(board, used)


@pytest.mark.parametrize("board", ["cs1", "cs2"])
def test_stack_used_by_a_chip_is_within_the_bound(board):
    """On the model of the chip: by plan, where it has one, and op by op."""
    blob, _ = tiny_encoder_blob()
    with csc.Device(f"soc:{board}", plan_chip(blob, max_length=3), send=True) as device:
        for length in (3, 9):
            device.infer(tiny_encoder_blob(length=length)[1])
        assert_stack(board, device.refresh())


def assert_stack(board, used):
    row = sizes.shown(sizes.TABLE.read_text())[board]
    assert used.stack_bytes == number(row["stack room"])
    assert 0.5 * number(row["stack bound"]) < used.stack_peak <= number(row["stack bound"])


@pytest.mark.parametrize("board", sorted(QEMU_BOARDS))
def test_clocks_count_instructions(board):
    """With a fixed time per instruction the clocks of every op are the same in every run."""
    need_qemu(board)
    blob, inputs = tiny_encoder_blob()
    runs = []
    for _ in range(2):
        with csc.Device(f"qemu:{board}", blob, icount=5) as device:
            runs.append([op.clocks for op in device.infer(inputs).report])
            total = device.clocks
    near = 0 if board == "qemu-riscv32" else 2  # SysTick ticks between instructions
    assert max(abs(a - b) for a, b in zip(*runs, strict=True)) <= near
    assert 0 < sum(runs[0]) <= total
    assert all(clocks > 0 for clocks in runs[0])
