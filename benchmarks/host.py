"""Times csc.infer on this CPU beside ONNX Runtime: dynamic int8 and float32, one thread each.

    python benchmarks/host.py --model MODEL.cscb --source HF_DIR [--backends amx,avx512vnni]

MODEL.cscb is the blob `csc convert` made of HF_DIR, a BertForSequenceClassification. ONNX Runtime
gets the same model the way its users prepare it: torch.onnx, the transformer fusions of its
optimizer, quantize_dynamic per channel. Every round runs each of them once, in turn, so that
what else the machine does meets all alike. A loop of nothing but int8 dot products (vpdpbusd) takes
part too: what it reaches is the peak that shares are of, so AMX may have more than 100 %. Needs the
packages of the extras train and benchmark.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import csc
from csc._csc import lib

try:
    import onnx
    import onnxruntime
    import torch
    import transformers
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer
except ImportError as missing:
    print(
        f"host.py: the package '{missing.name}' is missing; install csc[train,benchmark].",
        file=sys.stderr,
    )
    sys.exit(2)

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
INT8, FLOAT, PEAK = "ONNX Runtime int8", "ONNX Runtime float32", "int8 dot-product peak"
COLUMNS = (
    *("tokens", "runtime", "median ms", "best peer / this", "MMAC", "GMAC/s", "% of peak"),
    "logit error",
)
PEAK_ROUNDS = 100_000
SEED = 1
Arrays = dict[str, np.ndarray]
Runner = Callable[[Arrays], Any]


def load_source(source: Path) -> Any:
    """Return the float model; eager attention is the form ONNX Runtime's fusion knows."""
    try:
        return transformers.BertForSequenceClassification.from_pretrained(
            source, attn_implementation="eager", dtype=torch.float32, local_files_only=True
        ).eval()
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise csc.InputError(f"{source} holds no BertForSequenceClassification: {reason}") from None


def export(model: Any, folder: Path) -> dict[str, Path]:
    """Write the fused float32 and the int8 model to `folder`."""
    exported, fused, int8 = (folder / f"{name}.onnx" for name in ("exported", "fused", "int8"))
    ids = torch.ones(1, 16, dtype=torch.long)
    names = {"input_names": INPUTS, "output_names": ["logits"]}
    axes = {name: {1: "length"} for name in INPUTS}
    torch.onnx.export(
        model, (ids, ids, ids * 0), exported, **names, dynamic_axes=axes, dynamo=False
    )
    heads, hidden = model.config.num_attention_heads, model.config.hidden_size
    optimized = optimizer.optimize_model(
        str(exported), model_type="bert", num_heads=heads, hidden_size=hidden, opt_level=0
    )
    optimized.save_model_to_file(str(fused))
    behind_fused = {"DefaultTensorType": onnx.TensorProto.FLOAT}
    quantize_dynamic(
        fused, int8, per_channel=True, weight_type=QuantType.QInt8, extra_options=behind_fused
    )
    return {INT8: int8, FLOAT: fused}


def onnx_runner(path: Path) -> Runner:
    """Return a function that runs an ONNX file on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return lambda inputs: session.run(["logits"], {name: inputs[name] for name in names})[0]


def csc_runner(model: csc.Model, backend: str, threads: int) -> Runner:
    """Return a function that runs the blob on the host."""
    names = [tensor.name for tensor in model.inputs]

    def run(inputs: Arrays) -> np.ndarray:
        given = {name: inputs[name] for name in names}
        return csc.infer(model, given, backend=backend, threads=threads)["logits"]

    return run


def multiply_at_peak() -> int:
    """Do int8 dot products for about a millisecond; return their products, 0 without VNNI."""
    if not lib.csc_host_has_avx512vnni():
        return 0
    return int(lib.csc_host_multiply_at_peak(lib.CSC_AVX512_VNNI, PEAK_ROUNDS))


def make_inputs(tokens: int, vocabulary: int) -> Arrays:
    """One random sequence without padding."""
    ids = np.random.default_rng(SEED).integers(0, vocabulary, (1, tokens))
    return dict(zip(INPUTS, (ids, np.ones_like(ids), np.zeros_like(ids)), strict=True))


def blob_macs(model: csc.Model, tokens: int) -> int:
    """Products of the blob's matrices, without the rows nobody reads, which convert leaves out."""
    total = 0
    for op in model.ops:
        if op.kind not in ("GEMM", "ATTENTION"):
            continue
        rows, width = (tokens if d is None else d for d in model.tensors[op.operands["out"]].shape)
        if op.kind == "GEMM":
            total += rows * width * model.tensors[op.operands["x"]].shape[1]
        else:
            total += 2 * rows * tokens * width
    return total


def source_macs(config: Any, tokens: int) -> int:
    """Products of the float model's matrices."""
    hidden = config.hidden_size
    layer = tokens * (4 * hidden * hidden + 2 * hidden * config.intermediate_size)
    layer += 2 * tokens * tokens * hidden
    return config.num_hidden_layers * layer + hidden * (hidden + config.num_labels)


def time_rounds(runners: dict[str, Runner], inputs: Arrays, rounds: int) -> dict[str, float]:
    """Median milliseconds of one inference each; the first of a round takes turns."""
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    names = list(runners)
    for round_ in range(-2, rounds):
        shift = round_ % len(names)
        for name in names[shift:] + names[:shift]:
            start = time.perf_counter()
            runners[name](inputs)
            if round_ >= 0:
                seconds[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(values) for name, values in seconds.items()}


def make_rows(
    count: int, macs: dict[str, int], times: dict[str, float], logits: Arrays
) -> list[dict[str, Any]]:
    """One row per contestant; NaN where there is no peak or no logit."""
    peer = min(times[INT8], times[FLOAT])
    peak = macs[PEAK] / times[PEAK] if macs[PEAK] else float("nan")
    rows = []
    for name, milliseconds in times.items():
        error = np.abs(logits[name] - logits[FLOAT]).max() if name in logits else float("nan")
        speed = macs[name] / milliseconds
        values = (milliseconds, peer / milliseconds, macs[name] / 1e6, speed / 1e6)
        values += (100 * speed / peak, float(error))
        rows.append(dict(zip(COLUMNS, (count, name, *values), strict=True)))
    return rows


def measure(
    blob: csc.Model, source: Any, arguments: argparse.Namespace, rounds: int
) -> list[dict[str, Any]]:
    """One row per number of tokens and contestant."""
    rows = []
    runners = {
        f"CSC {name}": csc_runner(blob, name, arguments.threads) for name in arguments.backends
    }
    ours = set(runners)
    with tempfile.TemporaryDirectory() as folder:
        runners |= {name: onnx_runner(path) for name, path in export(source, Path(folder)).items()}
    for count in arguments.tokens:
        inputs = make_inputs(count, source.config.vocab_size)
        logits = {name: run(inputs) for name, run in runners.items()}
        full = source_macs(source.config, count)
        macs = {name: blob_macs(blob, count) if name in ours else full for name in runners}
        macs[PEAK] = multiply_at_peak()
        times = time_rounds({**runners, PEAK: lambda _: multiply_at_peak()}, inputs, rounds)
        rows += make_rows(count, macs, times, logits)
    return rows


def cpu_name() -> str:
    """Model name of the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def token_counts(text: str) -> list[int]:
    """Parse "32,128"."""
    return [int(count) for count in text.split(",")]


def backend_names(text: str) -> list[str]:
    """Parse "amx,avx512vnni"."""
    return text.split(",")


def describe(arguments: argparse.Namespace, config: Any) -> dict[str, str]:
    """Say what was measured, on what, with what."""
    modules = (csc, onnxruntime, torch, transformers, np)
    return {
        "workload": f"{arguments.model.name}: BERT classifier, {config.num_hidden_layers} layers "
        f"of {config.hidden_size}, FFN {config.intermediate_size}, batch 1, random tokens "
        f"(seed {SEED}), {arguments.threads} thread(s) for CSC and one for the others, median of "
        f"{arguments.rounds} interleaved rounds",
        "cpu": f"{cpu_name()}, {os.cpu_count()} logical CPUs, for {', '.join(csc.backends())}",
        "versions": ", ".join(f"{module.__name__} {module.__version__}" for module in modules)
        + f", Python {platform.python_version()}",
    }


def show(facts: dict[str, str], rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    table = Table(*COLUMNS, title="Time of one inference")
    for row in rows:
        count, name, *numbers = row.values()
        table.add_row(str(count), name, *(f"{number:.3g}" for number in numbers))
    console.print(table)
    for key, value in facts.items():
        console.print(f"{key}: {value}", highlight=False)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="blob made by csc convert")
    parser.add_argument("--source", type=Path, required=True, help="the directory it was made of")
    parser.add_argument(
        "--tokens", type=token_counts, default="16,32,128", help="default 16,32,128"
    )
    parser.add_argument("--backends", type=backend_names, default="host", help="default host")
    parser.add_argument("--threads", type=int, default=1, help="threads of CSC, default 1")
    parser.add_argument("--rounds", type=int, default=50, help="timed rounds, default 50")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON too")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    try:
        source = load_source(arguments.source)
        blob = csc.load(arguments.model)
        rows = measure(blob, source, arguments, max(1, arguments.rounds))
        facts = describe(arguments, source.config)
        show(facts, rows)
        if arguments.json:
            arguments.json.write_text(json.dumps({**facts, "results": rows}, indent=2) + "\n")
    except (csc.CscError, OSError) as error:
        print(f"host.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
