"""`make bench-kernels`: every pattern and shape, against XNNPACK and our own dense."""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.cases import ISAS, Case, all_cases, quick_cases
from benchmarks.one_op_models import (
    correlated_input,
    fully_connected_model,
)
from benchmarks.sparse_weights import sparse_weights
from benchmarks.tables import TABLE_WIDTH, kernel_table, mean_table
from benchmarks.targets import means
from qsparse.tflite_export.bench import measure_interleaved, one_core
from qsparse.tflite_export.runtime.cpu import cpu_name
from qsparse.tflite_export.runtime.interpreter import (
    Interpreter,
    delegate_library,
    plain_interpreter,
    read_plan,
)

_TURN_SECONDS = 0.002
_LEAST_VALUES = 9  # fewer different outputs would make "bit-exact" mean nothing


def measure(case: Case, rounds: int, peaks: dict[str, float]) -> dict[str, Any]:
    """Measures one case.

    XNNPACK, our dense kernels and our sparse kernels run the same file in turns;
    packing and unpacking of activations are part of the time. Our kernels run
    whatever the cost model says: `predicted_gain` tells what it does say.

    Args:
        case: what to measure.
        rounds: number of turns.
        peaks: ISA -> GMAC/s on registers alone, of one core.
    """
    content, density = case.shape.model(case.pattern, case.sparsity)
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.json"
        sparse: dict[str, Any] = {"isa": case.isa, "min_gain": 0, "plan": plan}
        runners = {
            "xnnpack": plain_interpreter(content),
            "own_dense": Interpreter(content, isa=case.isa, dense=True),
            "own": Interpreter(content, **sparse),
        }
        exact = _agree(runners, correlated_input(case.shape.input_shape))
        decisions = json.loads(plan.read_text())
    times = measure_interleaved(runners, rounds, seconds=_TURN_SECONDS, warm=True)
    least = {name: float(values.min()) for name, values in times.items()}
    rate = case.shape.macs * density / least["own"] / 1e3
    peak = peaks.get(case.isa)
    return case.key | {
        "kernel": decisions[0]["kernel"],
        "claimed": all(decision["claimed"] for decision in decisions),
        "predicted_gain": decisions[0]["predicted_gain"],
        "ratio_xnnpack": least["xnnpack"] / least["own"],
        "ratio_own_dense": least["own_dense"] / least["own"],
        "ratio_xnnpack_median": float(np.median(times["xnnpack"] / times["own"])),
        "ratio_own_dense_median": float(np.median(times["own_dense"] / times["own"])),
        "nonzero_gmacs": rate,
        "peak_share": None if peak is None else rate / peak,
        "bit_exact": exact,
        "xnnpack_us": least["xnnpack"],
        "own_dense_us": least["own_dense"],
        "own_us": least["own"],
        "density": density,
        "layers": case.shape.layers,
        "rounds": rounds,
    }


def main(arguments: list[str] | None = None) -> int:
    """Measures, writes and prints; returns the exit code.

    Args:
        arguments: command line without the program; None takes `sys.argv`.
    """
    options = _parser().parse_args(arguments)
    path = Path(options.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    origin = {"machine": cpu_name(), "build": _build()}
    rows = _kept(path, origin) if options.resume else []
    started = time.perf_counter()
    with one_core(True):
        peaks = _peaks(options.peak)
        done = [_key(row) for row in rows]
        # Another ISA than the one asked for would run where the CPU lacks it.
        isas = [isa for isa in ISAS if _is_supported(isa)]
        grid = quick_cases() if options.quick else all_cases()
        cases = [c for c in grid if c.isa in isas and _key(c.key) not in done]
        for number, case in enumerate(cases, start=1):
            if time.perf_counter() - started > options.seconds:
                print(f"stopped after {options.seconds:.0f} s", file=sys.stderr)
                break
            rows.append(measure(case, options.rounds, peaks) | origin)
            _write(path, rows)
            print(f"[{number}/{len(cases)}] {_line(rows[-1])}", file=sys.stderr)
    if rows:
        console = Console()
        console.width = max(console.width, TABLE_WIDTH)
        console.print(kernel_table(rows))
        console.print(mean_table(means(rows)))
    return 0 if all(row["bit_exact"] for row in rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="bench/kernels.json", help="the rows")
    parser.add_argument("--quick", action="store_true", help="a part, in a minute")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--peak", help="program that measures the ISAs' peaks")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep the rows that this machine and this build of the delegate wrote",
    )
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="stop after so long"
    )
    return parser


def _agree(runners: dict[str, Any], values: np.ndarray) -> bool:
    """Feeds all the same; returns whether they agree on an output that varies."""
    results = []
    for runner in runners.values():
        runner.allocate_tensors()
        runner.set_tensor(runner.get_input_details()[0]["index"], values)
        runner.invoke()
        results.append(
            [runner.get_tensor(d["index"]) for d in runner.get_output_details()]
        )
    if min(np.unique(output).size for output in results[0]) < _LEAST_VALUES:
        return False
    return all(
        np.array_equal(ours, theirs)
        for result in results[1:]
        for ours, theirs in zip(result, results[0], strict=True)
    )


def _is_supported(isa: str) -> bool:
    model = fully_connected_model(sparse_weights((16, 16), "4x4", 0.5), 16)
    return read_plan(model.content, isa=isa)[0]["isa"] == isa


def _peaks(program: str | None) -> dict[str, float]:
    if program is None:
        return {}
    run = subprocess.run([program], check=True, capture_output=True, text=True)
    return json.loads(run.stdout)


def _build() -> str:
    return hashlib.sha256(Path(delegate_library()).read_bytes()).hexdigest()[:12]


def _kept(path: Path, origin: dict[str, str]) -> list[dict[str, Any]]:
    rows = json.loads(path.read_text()) if path.exists() else []
    return [row for row in rows if origin.items() <= row.items()]


def _key(row: dict[str, Any]) -> tuple:
    return tuple(row[k] for k in ("op", "shape", "pattern", "sparsity", "isa"))


def _line(row: dict[str, Any]) -> str:
    return (
        f"{row['op']} {row['shape']} {row['pattern']} {row['sparsity']:.1%} "
        f"{row['isa']}: {row['ratio_xnnpack']:.2f}x XNNPACK, "
        f"{row['ratio_own_dense']:.2f}x own dense"
    )


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes beside `path`, then renames: an interruption loses nothing."""
    beside = path.with_suffix(".tmp")
    beside.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")
    os.replace(beside, path)


if __name__ == "__main__":
    sys.exit(main())
