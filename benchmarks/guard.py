"""`make bench-guard`: is any exported file slower with our delegate than without?"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.export import NETWORKS, export_network
from benchmarks.models import agree, samples_of
from benchmarks.split import claimed_groups, feed
from benchmarks.tables import TABLE_WIDTH
from qsparse.methods.patterns import NM, Block, Unstructured
from qsparse.tflite_export.bench import measure_interleaved, one_core
from qsparse.tflite_export.files.cut_out import cut_out
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.pruned import prune_file
from qsparse.tflite_export.runtime.cpu import cpu_name, xnnpack_isa
from qsparse.tflite_export.runtime.interpreter import Interpreter, plain_interpreter

LEAST_RATIO = 0.97
DENSE = "dense"
VARIANTS = {
    DENSE: (None, None),
    "2:4": (NM(2, 4), None),
    "4:16": (NM(4, 16), None),
    "4x4@50%": (Block((4, 4)), 0.5),
    "4x4@75%": (Block((4, 4)), 0.75),
    "4x4@90%": (Block((4, 4)), 0.9),
    "unstructured@80%": (Unstructured(), 0.8),
}
_ROUNDS = 15
_GROUP_ROUNDS, _GROUP_SECONDS = 9, 0.002
_AGAIN = 3  # times as many rounds for what seems slower


def main(arguments: list[str] | None = None) -> int:
    """Measures every network in every variant; returns the exit code.

    Args:
        arguments: command line without the program; None takes `sys.argv`.

    Returns:
        0 if no file is slower than stock LiteRT, and all outputs are equal; else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="bench/guard.json", help="the rows")
    parser.add_argument("--cache", default="bench/export", help="folder of the files")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    options = parser.parse_args(arguments)
    path, cache = Path(options.output), Path(options.cache)
    for folder in (path.parent, cache):
        folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for network in options.networks:
        source = cache / f"{network}.tflite"
        if not (source.exists() and source.with_suffix(".npz").exists()):
            print(f"exporting {network}; this takes minutes", file=sys.stderr)
            export_network(network, source)
        for variant in options.variants:
            print(f"measuring {network} {variant}", file=sys.stderr)
            rows.append({"network": network, "variant": variant})
            rows[-1] |= measure(source, variant)
            path.write_text(json.dumps(rows, indent=1) + "\n")
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    console.print(guard_table(rows))
    return 0 if all(map(passes, rows)) else 1


def measure(source: Path, variant: str) -> dict[str, Any]:
    """Measures a file with pruned weights, and each group of nodes we take of it.

    Args:
        source: a .tflite file with dense weights; the .npz beside it holds inputs.
        variant: one of `VARIANTS`.
    """
    content = pruned(source.read_bytes(), variant)
    file = ModelFile(content)
    with one_core(True):
        runners = {"xnnpack": plain_interpreter(content), "own": Interpreter(content)}
        exact = agree(runners, samples_of(file, source.with_suffix(".npz")))
        times, again = _times(runners)
        groups = claimed_groups(content, file)
        losses = []
        for group in groups:
            part = cut_out(file, group.ops)
            ratio = _ratio(part)
            if ratio < LEAST_RATIO:
                losses.append(
                    {
                        "layers": [f"{op.index} {op.name}" for op in group.ops],
                        "ratio_xnnpack": ratio,
                    }
                )
    return {
        "machine": cpu_name(),
        "xnnpack_isa": xnnpack_isa(),
        "xnnpack_us": float(times["xnnpack"].min()),
        "own_us": float(times["own"].min()),
        "ratio_xnnpack": float(times["xnnpack"].min() / times["own"].min()),
        "ratio_xnnpack_median": float(np.median(times["xnnpack"] / times["own"])),
        "measured_again": again,
        "claimed": sum(len(group.ops) for group in groups),
        "groups": len(groups),
        "losses": losses,
        "bit_exact": exact,
    }


def pruned(content: bytes, variant: str) -> bytes:
    """Returns a file with the zeros of a variant, by magnitude.

    Args:
        content: a .tflite file with dense weights.
        variant: one of `VARIANTS`. Layers its pattern does not fit stay dense.
    """
    pattern, sparsity = VARIANTS[variant]
    if pattern is None:
        return content

    def mask(sizes: np.ndarray) -> np.ndarray | None:
        scores = sizes.transpose(1, 2, 0)  # as patterns see them
        if pattern.misfit(scores.shape):
            return None
        return pattern.mask(scores, sparsity).transpose(2, 0, 1)

    return prune_file(content, mask)


def passes(row: dict[str, Any]) -> bool:
    """Returns whether a file is no slower than stock LiteRT, and as exact."""
    return row["ratio_xnnpack"] >= LEAST_RATIO and row["bit_exact"]


def guard_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Returns one line per row of `bench/guard.json`.

    Args:
        rows: at least one.
    """
    table = Table(
        title=f"Whole int8 files: no ratio to stock LiteRT below {LEAST_RATIO}",
        caption=f"{rows[0]['machine']}, where XNNPACK runs int8 with "
        f"{rows[0]['xnnpack_isa']}; one pinned core, interleaved; ratio of the least "
        "times, and median of the ratios within each round. At a loss: groups of nodes "
        "that are slower with our delegate, cut out of the file and measured alone.",
    )
    for name in ("network", "variant"):
        table.add_column(name, no_wrap=True)
    for name in ("XNNPACK ms", "ratio", "median", "nodes taken", "groups", "at a loss"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("exact")
    table.add_column("passes")
    for row in rows:
        table.add_row(
            row["network"],
            row["variant"],
            f"{row['xnnpack_us'] / 1e3:.2f}",
            f"{row['ratio_xnnpack']:.2f}",
            f"{row['ratio_xnnpack_median']:.2f}",
            str(row["claimed"]),
            str(row["groups"]),
            str(len(row["losses"])),
            "yes" if row["bit_exact"] else "NO",
            "yes" if passes(row) else "NO",
        )
    return table


def _times(runners: dict[str, Any]) -> tuple[dict[str, np.ndarray], bool]:
    """Returns the times, and whether they were taken twice: once may be chance."""
    times = measure_interleaved(runners, _ROUNDS, warm=True)
    if times["xnnpack"].min() / times["own"].min() >= LEAST_RATIO:
        return times, False
    return measure_interleaved(runners, _AGAIN * _ROUNDS, warm=True), True


def _ratio(part: bytes) -> float:
    # Taken in the whole file, it is taken here.
    runners = {"xnnpack": plain_interpreter(part), "own": Interpreter(part, min_gain=0)}
    for runner in runners.values():
        feed(runner)
    ratio = 0.0
    for rounds in (_GROUP_ROUNDS, _AGAIN * _GROUP_ROUNDS):
        times = measure_interleaved(runners, rounds, seconds=_GROUP_SECONDS, warm=True)
        ratio = float(times["xnnpack"].min() / times["own"].min())
        if ratio >= LEAST_RATIO:
            break
    return ratio


if __name__ == "__main__":
    sys.exit(main())
