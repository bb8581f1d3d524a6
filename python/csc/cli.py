"""The command line: csc convert, plan, infer, generate, inspect, verify, firmware and others."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
from rich.console import Console
from rich.table import Table

import csc
from csc import _tables as tables
from csc._parameters import parse_axes, parse_changes
from csc._plots import draw, draw_sweep
from csc._verify import LOGITS, read_data, split_labels, visible_lengths
from csc.errors import CscError, InputError
from csc_convert import ChipPlan, ConvertError, make_plan, write_file

Command = TypeVar("Command", bound=Callable[..., None])

json_option = click.option(
    "--json", "json_file", metavar="FILE", help="Write the result as JSON; '-' is standard output."
)
limit_option = click.option("--limit", type=click.IntRange(1), help="Use the first so many rows.")


def _console(json_file: str | None) -> Console:
    """Tables go to standard output, or out of the way of JSON on it."""
    wide = 140 if not sys.stdout.isatty() else None
    return Console(stderr=json_file == "-", width=wide)


def _write_json(json_file: str | None, result: dict[str, Any]) -> None:
    if json_file is None:
        return
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    if json_file == "-":
        click.echo(text, nl=False)
    else:
        write_file(Path(json_file), text.encode())


def _errors_end_with_2(command: Command) -> Command:
    """Turn every error csc raises on purpose into one sentence and exit code 2."""

    @wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except (CscError, ConvertError) as error:
            click.echo(f"csc: {error}", err=True)
            sys.exit(2)

    return wrapped  # type: ignore[return-value]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(csc.__version__, prog_name="csc")
def main() -> None:
    """Software of the CompactScale int8 AI chip."""


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Blob to write."
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    required=True,
    help=".npz with input_ids [N, T] and, optionally, attention_mask, token_type_ids.",
)
@click.option(
    "--held-out", type=click.Path(path_type=Path), help=".npz like it, which is measured instead."
)
@click.option("--max-length", type=int, help="Longest sequence; default: that of the calibration.")
@click.option(
    "--context", type=int, help="Longest text a GPT goes on with; default: all its positions."
)
@click.option("--score", is_flag=True, help="Adds the entry score: a GPT's logits of every token.")
@click.option(
    "--pooling",
    type=click.Choice(["auto", "none", "cls", "mean"]),
    default="auto",
    show_default=True,
    help="Adds the output sentence_embedding.",
)
@click.option(
    "--wide",
    type=click.Choice(["auto", "none", "all"]),
    default="auto",
    show_default=True,
    help="Which GEMMs read 13-bit instead of 8-bit activations.",
)
@click.option(
    "--chip",
    type=click.Choice(["cs2", "none"]),
    default="cs2",
    show_default=True,
    help="Adds the commands for this chip, where it can hold the model; the rest is the same.",
)
@click.option("--min-sqnr", type=float, help="Fail below this SQNR (dB) of the worst output.")
@click.option("--min-agreement", type=float, help="Fail below this share of equal predictions.")
@click.option(
    "--max-perplexity-increase",
    type=float,
    help="Fail if perplexity grows by more than this share.",
)
@json_option
@_errors_end_with_2
def convert(source: Path, output: Path, calibration: Path, held_out: Path | None,
            max_length: int | None, context: int | None, score: bool, pooling: str,
            wide: str, chip: str, min_sqnr: float | None, min_agreement: float | None,
            max_perplexity_increase: float | None, json_file: str | None) -> None:  # fmt: skip
    """Convert SOURCE, a Hugging Face directory or an .onnx file, to an integer-only blob."""
    console = _console(json_file)
    with tables.progress_bars(console) as progress:
        made = csc.convert(
            source, output, calibration=calibration, held_out=held_out, max_length=max_length,
            context=context, score=score, pooling=pooling, wide=wide, chip=chip,
            min_sqnr=min_sqnr, min_agreement=min_agreement,
            max_perplexity_increase=max_perplexity_increase, progress=progress,
        )  # fmt: skip
    report = made.report.to_dict()
    for note in report["notes"]:
        console.print(f"Note: {note}")
    for table in tables.conversion_tables(report):
        console.print(table)
    if made.plan is None and chip != "none":
        console.print(f"Without a plan for {chip}: {made.no_plan}")
    console.print(f"Wrote {output}.")
    _write_json(json_file, report)


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Blob to write."
)
@click.option("--chip", default="cs2", show_default=True, help="Chip to plan for: cs2.")
@click.option(
    "--sram-kb", type=click.IntRange(64, 16384), default=512, show_default=True,
    help="On-chip memory of the chip in KiB, a multiple of 4.",
)  # fmt: skip
@click.option(
    "--max-length", type=int, help="Longest sequence of the plan; default: that of the blob."
)
@json_option
@_errors_end_with_2
def plan(model: Path, output: Path, chip: str, sram_kb: int, max_length: int | None,
         json_file: str | None) -> None:  # fmt: skip
    """Put the commands that run the blob MODEL on a chip into it, in place of older ones."""
    try:
        blob = model.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"The blob {model} cannot be read: {reason}; check the path.") from None
    made = make_plan(blob, chip, sram_bytes=1024 * sram_kb, max_length=max_length)
    write_file(output, made.blob)
    console = _console(json_file)
    for table in _plan_tables(made):
        console.print(table)
    console.print(f"Wrote {output}.")
    _write_json(json_file, made.to_dict())


def _plan_tables(made: ChipPlan) -> list[Table]:
    """Return a table of what the plan does, and one of where it keeps what."""
    facts = [[f"commands of {name}", tables.count(made.commands[name])] for name in made.commands]
    facts += [
        ["longest sequence", str(made.max_length)],
        ["SRAM bytes", f"{tables.count(made.sram_bytes)} (ring {tables.count(made.ring_bytes)})"],
        ["external bytes", tables.count(made.external_bytes)],
        ["multiply-accumulates", tables.count(made.macs)],
        ["clocks, at least", tables.count(made.bound_clocks)],
    ]
    places = [
        [place.name, hex(place.address), tables.count(place.bytes),
         f"{place.first_op} to {place.last_op}"]
        for place in made.places
    ]  # fmt: skip
    return [
        tables.make_table("SRAM", ["what", "address>", "bytes>", "ops>"], places),
        tables.make_table(f"Plan for {made.chip}", ["what", "value>"], facts),
    ]


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--input",
    "data",
    type=click.Path(path_type=Path),
    required=True,
    help=".npz with one array [sequences, length] per input.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help=".npz to write the outputs to."
)
@click.option("--raw", is_flag=True, help="The device's integers instead of real values.")
@click.option(
    "--backend",
    type=click.Choice(["host", "portable", "avx2", "avx512vnni", "amx", "cs1", "cs2"]),
    default="host",
    show_default=True,
)
@limit_option
@json_option
@_errors_end_with_2
def infer(model: Path, data: Path, output: Path | None, raw: bool, backend: str,
          limit: int | None, json_file: str | None) -> None:  # fmt: skip
    """Run the blob MODEL on the rows of an .npz file."""
    console = _console(json_file)
    loaded = csc.load(model)
    inputs, _ = split_labels(read_data(data, limit))
    result = loaded.infer(inputs, raw=raw, backend=backend)
    if output is not None:
        write_file(output, _npz_bytes(result))
    rows = [[name, str(array.dtype), str(list(array.shape))] for name, array in result.items()]
    console.print(tables.make_table("Outputs", ["name", "dtype", "shape"], rows))
    predictions = _predictions(loaded, result)
    if predictions:
        numbered = [[str(row), label] for row, label in enumerate(predictions)]
        console.print(tables.make_table("Predictions", ["row>", "label"], numbered))
    if result.report:
        console.print(tables.chip_table(result.report))
    outputs = {name: array.tolist() for name, array in result.items()}
    report = [vars(entry) for entry in result.report]
    _write_json(json_file, {"outputs": outputs, "predictions": predictions, "chip": report})


def _ids(_: Any, __: Any, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise click.BadParameter("give whole numbers with commas between them") from None


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--ids", callback=_ids, required=True, help="The prompt: ids such as 1,2,3.")
@click.option("--max-new", type=click.IntRange(0), default=20, show_default=True,
              help="Most tokens to make.")  # fmt: skip
@click.option("--top-k", type=int, default=1, show_default=True,
              help="Draw from so many of the most probable tokens; 1 takes the first.")  # fmt: skip
@click.option("--temperature", type=float, default=1.0, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the random numbers.")
@click.option("--stop", callback=_ids, default="", help="Ids to stop behind.")
@click.option(
    "--backend",
    type=click.Choice(["host", "portable", "avx2", "cs1", "cs2"]),
    default="host",
    show_default=True,
)
@click.option("--device", help="Generate on a device: soc:CHIP, qemu:BOARD or serial:PORT.")
@json_option
@_errors_end_with_2
def generate(model: Path, ids: list[int], max_new: int, stop: list[int], device: str | None,
             json_file: str | None, **options: Any) -> None:  # fmt: skip
    """Continue the ids of a prompt with the blob MODEL, and print each new id as it comes."""
    loaded = csc.load(model)
    options["stop_ids"] = stop
    made = []
    with contextlib.ExitStack() as stack:
        runner: csc.Model | csc.Device = loaded
        if device is not None:
            runner = stack.enter_context(csc.Device(device, loaded))
        for token in csc.generate(runner, ids, max_new, **options):
            made.append(token)
            click.echo(token, err=json_file == "-")
    _write_json(json_file, {"prompt": ids, "ids": made})


def _predictions(model: csc.Model, result: csc.Result) -> list[str]:
    """Return the label of the largest logit per row; empty for other models."""
    if LOGITS not in result:
        return []
    labels = model.labels
    best = result[LOGITS].argmax(axis=-1).tolist()
    return [labels[index] if index < len(labels) else str(index) for index in best]


def _npz_bytes(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--tensors", is_flag=True, help="List every tensor too.")
@json_option
@_errors_end_with_2
def inspect(model: Path, tensors: bool, json_file: str | None) -> None:
    """Show what the blob MODEL holds."""
    facts = csc.inspect(model)
    console = _console(json_file)
    for table in tables.inspection_tables(facts, tensors):
        console.print(table)
    _write_json(json_file, facts)


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help=".npz with inputs [N, T] and, optionally, labels [N].",
)
@click.option(
    "--pooling",
    type=click.Choice(["auto", "none", "cls", "mean"]),
    default="auto",
    show_default=True,
    help="As in csc convert.",
)
@click.option("--min-agreement", type=float, help="Fail below this share of equal predictions.")
@click.option("--min-sqnr", type=float, help="Fail below this SQNR (dB) of the worst output.")
@limit_option
@json_option
@_errors_end_with_2
def verify(model: Path, source: Path, data: Path, pooling: str, min_agreement: float | None,
           min_sqnr: float | None, limit: int | None, json_file: str | None) -> None:  # fmt: skip
    """Compare the blob MODEL with its float SOURCE on given data."""
    console = _console(json_file)
    with tables.progress_bars(console) as progress:
        found = csc.verify(model, source, data, limit=limit, pooling=pooling, progress=progress)
    for table in tables.verification_tables(found):
        console.print(table)
    _write_json(json_file, found.to_dict())
    _gate(found, min_agreement, min_sqnr)


def _gate(found: csc.Verification, min_agreement: float | None, min_sqnr: float | None) -> None:
    worst = ", ".join(f"{layer.tensor} ({layer.sqnr_db:.1f} dB)" for layer in found.layers[:3])
    if min_agreement is not None:
        if found.agreement is None:
            raise InputError(
                "--min-agreement needs a classifier; this blob has no output 'logits'."
            )
        if found.agreement < min_agreement:
            raise CscError(
                f"The agreement is {found.agreement:.4f}, below the required {min_agreement:.4f}; "
                f"the worst layers are {worst}; convert with --wide all or more calibration data."
            )
    lowest = min(found.sqnr_db.values())
    if min_sqnr is not None and lowest < min_sqnr:
        raise CscError(
            f"The worst output has an SQNR of {lowest:.1f} dB, below the required {min_sqnr:.1f} "
            f"dB; the worst layers are {worst}; convert with --wide all or more calibration data."
        )


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--board", required=True, help="One of firmware/boards; a wrong name lists them.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="ELF file to write."
)
@click.option(
    "--elf", type=click.Path(path_type=Path), help="A firmware you built, not the one inside csc."
)
@click.option("--ram-bytes", type=int, help="Size of the RAM, where the board leaves it open.")
@click.option("--uart-divisor", type=int, help="Clocks per bit of the UART.")
@_errors_end_with_2
def firmware(model: Path, board: str, output: Path, elf: Path | None, ram_bytes: int | None,
             uart_divisor: int | None) -> None:  # fmt: skip
    """Put the blob MODEL into the firmware of a board; no compiler is needed."""
    made = csc.make_firmware(model, board, elf=elf, ram_bytes=ram_bytes, uart_divisor=uart_divisor)
    write_file(output, made)
    click.echo(f"Wrote {output}.")


tokens_option = click.option(
    "--length", "--tokens", "tokens", type=int, help="Tokens of the run without --input; default 8."
)
set_option = click.option(
    "--set", "settings", metavar="NAME=VALUE", multiple=True,
    help="Another CS2: clock_mhz, sram_bytes, array, lanes, ext_bytes_per_clock, ext_latency, "
    "ext_burst. May be given several times.",
)  # fmt: skip
plot_option = click.option(
    "--plot", type=click.Path(path_type=Path), help="Picture to write, .png or .svg."
)


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--chip", default="cs1", show_default=True, help="Chip to run on: cs1 or cs2.")
@click.option(
    "--input", "data", type=click.Path(path_type=Path), help=".npz; its first row is run."
)
@tokens_option
@click.option(
    "--ram-wait",
    type=click.IntRange(0, 1),
    default=0,
    show_default=True,
    help="Wait states of the RAM.",
)
@click.option(
    "--clock-mhz",
    type=float,
    default=100,
    show_default=True,
    help="Clock rate that milliseconds are given for.",
)
@set_option
@click.option("--portable", is_flag=True, help="CS2: let the processor run what has no plan.")
@click.option(
    "--compare",
    metavar="CHIP,CHIP",
    help="Chips side by side instead, such as cs1,cs2 or cs2,cs2:array=64:lanes=8.",
)
@click.option("--device", help="Profile a board: qemu:BOARD or serial:PORT.")
@click.option(
    "--trace", type=click.Path(path_type=Path), help="Chrome trace for Perfetto to write."
)
@plot_option
@json_option
@_errors_end_with_2
def profile(model: Path, chip: str, data: Path | None, compare: str | None, trace: Path | None,
            plot: Path | None, json_file: str | None, settings: tuple[str, ...],
            clock_mhz: float, device: str | None, **options: Any) -> None:  # fmt: skip
    """Run the firmware with the blob MODEL on a chip and count the clocks of every op."""
    console = _console(json_file)
    options["inputs"] = None if data is None else _first_row(data)
    options.update(clock_hz=1e6 * clock_mhz, parameters=parse_changes(settings))
    if compare is not None:
        if device or trace or plot:
            raise InputError("--compare gives a table and JSON; leave --device, --trace, --plot.")
        _compare(console, model, compare, json_file, options)
        return
    with tables.progress_bars(console) as progress:
        report = csc.profile(model, chip, device=device, progress=progress, **options)
    for table in tables.profile_tables(report):
        console.print(table)
    if trace is not None:
        write_file(trace, json.dumps(report.to_trace()).encode())
    if plot is not None:
        write_file(plot, draw(report, plot.suffix.lstrip(".").lower()))
    _write_json(json_file, report.to_dict())


def _compare(
    console: Console, model: Path, chips: str, json_file: str | None, options: dict[str, Any]
) -> None:
    with tables.progress_bars(console) as progress:
        found = csc.compare(model, chips.split(","), progress=progress, **options)
    for table in tables.comparison_tables(found):
        console.print(table)
    _write_json(json_file, found.to_dict())


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--chip", default="cs2", show_default=True, help="Chip to vary.")
@click.option(
    "--vary", metavar="NAME=VALUE,VALUE", multiple=True, required=True,
    help="Values of a parameter (see --set); several options make a grid.",
)  # fmt: skip
@set_option
@tokens_option
@click.option("--jobs", type=int, help="Processes; -1 is one per processor; default 1.")
@click.option(
    "-o", "--output", "output", type=click.Path(path_type=Path), help="JSON file to write."
)
@plot_option
@_errors_end_with_2
def sweep(model: Path, chip: str, vary: tuple[str, ...], settings: tuple[str, ...],
          tokens: int | None, jobs: int | None, output: Path | None,
          plot: Path | None) -> None:  # fmt: skip
    """Profile the blob MODEL on every chip of a grid of parameters.

    The points run side by side through joblib. In Python, csc.sweep inside
    joblib.parallel_config("dask") or "ray" runs them on that cluster.
    """
    console = _console(None)
    with tables.progress_bars(console) as progress:
        found = csc.sweep(
            model, parse_axes(vary), chip=chip, parameters=parse_changes(settings),
            tokens=tokens, jobs=jobs, progress=progress,
        )  # fmt: skip
    for table in tables.sweep_tables(found):
        console.print(table)
    if output is not None:
        _write_json(str(output), found.to_dict())
    if plot is not None:
        write_file(plot, draw_sweep(found, plot.suffix.lstrip(".").lower()))


def _first_row(data: Path) -> dict[str, Any]:
    """Return the first sequence of an .npz file without the padding behind it."""
    inputs, _ = split_labels(read_data(data, 1))
    length = int(visible_lengths(inputs)[0])
    return {name: array[0, :length] for name, array in inputs.items()}
