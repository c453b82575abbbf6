"""Tables for the terminal."""

from collections.abc import Sequence

from rich.table import Table

from qsparse.tflite_export.bench import BenchReport
from qsparse.tflite_export.inspect import Inspection


def bench_table(reports: Sequence[BenchReport], title: str) -> Table:
    """Returns latencies and ratios, one row per report.

    Args:
        reports: at least one.
        title: title of the table.
    """
    first = reports[0]
    where = (
        "one pinned core" if first.pinned else f"{first.threads} threads, not pinned"
    )
    table = Table(
        title=title,
        caption=f"{first.cpu}, {where}; microseconds, least and median of "
        f"{first.rounds} interleaved rounds; ratios are medians over the rounds",
    )
    table.add_column("model", overflow="fold")
    for name in ("XNNPACK\ndense", "ours,\ndense", "ours,\nsparse"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("faster than\nXNNPACK", "faster than\nours, dense"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("exact")
    for report in reports:
        table.add_row(
            report.name,
            *(
                f"{report.min_us[v]:,.1f}\n{report.median_us[v]:,.1f}"
                for v in ("xnnpack", "qsparse_dense", "qsparse")
            ),
            f"{report.speedup_median:.2f}x"
            if report.claimed
            else "no gain:\nnot taken",
            f"{report.over_own_dense:.2f}x",
            "yes" if report.exact else "NO",
        )
    return table


def inspection_table(found: Inspection) -> Table:
    """Returns one row per layer of a file."""
    table = Table(title=f"{found.path} ({found.size_bytes:,} bytes)")
    header = ["layer", "weights", "pattern", "zeros", "int8", "MACs"]
    if found.kind == "tflite":
        header += ["runs on"]
    else:
        table.caption = (
            "Which kernel runs a layer is decided when an exported file is loaded: "
            "inspect the .tflite."
        )
        if found.unfinished is not None:
            table.caption = found.unfinished
    for name in header:
        right = name in ("zeros", "MACs")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for layer in found.layers:
        row = [
            layer.layer,
            "x".join(map(str, layer.shape)),
            layer.pattern,
            f"{layer.sparsity:.1%}",
            "yes" if layer.int8 else "no",
            "?" if layer.macs is None else f"{layer.macs:,}",
        ]
        if found.kind == "tflite":
            row[0] += f"\n{layer.op}"
            row += [f"{layer.kernel}: {layer.reason}"]
        table.add_row(*row)
    return table
