"""Tables for the terminal."""

from collections.abc import Sequence

from rich.table import Table

from qsparse.tflite_export.bench import BenchReport
from qsparse.tflite_export.files.layer_info import LayerInfo
from qsparse.tflite_export.files.plain_text import plain, shorten
from qsparse.tflite_export.files.precision import A16W8
from qsparse.tflite_export.inspect import Inspection
from qsparse.tflite_export.runtime.cpu import xnnpack_note

# What the other columns of an inspection take, with the borders.
_BESIDE_NAME = 60
_LEAST_NAME = 20


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
        caption=f"{first.cpu}, {where}; XNNPACK runs int8 with "
        f"{first.xnnpack_isa} on it; microseconds, least and median of "
        f"{first.rounds} interleaved rounds; ratios are medians over the rounds."
        + f" {first.advice}".rstrip(),
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


def inspection_table(found: Inspection, width: int = 100) -> Table:
    """Returns one row of two lines per layer of a file.

    Args:
        found: what was found; print the table to a `SafeConsole`.
        width: columns of the terminal, at least 80. Long names lose their middle.
    """
    name = max(width - _BESIDE_NAME, _LEAST_NAME)
    narrow = width < _BESIDE_NAME + 2 * _LEAST_NAME
    size = f" ({found.size_bytes:,} bytes)"
    table = Table(
        title=shorten(plain(found.path), width - len(size)) + size,
        caption=_caption(found),
    )
    table.add_column("layer", no_wrap=True)
    table.add_column("weights", overflow="fold")
    table.add_column("zeros", overflow="fold", max_width=12 if narrow else None)
    table.add_column("MACs", justify="right", overflow="fold")
    if found.kind == "tflite":
        table.add_column("runs on", overflow="fold")
    for layer in found.layers:
        table.add_row(*_cells(layer, name, found.kind == "tflite"))
    return table


def _cells(layer: LayerInfo, width: int, exported: bool) -> list[str]:
    op = (
        ""
        if layer.op is None
        else shorten(plain(layer.op), width - len(layer.format) - 1)
    )
    cells = [
        f"{shorten(plain(layer.layer), width)}\n{f'{op} {layer.format}'.lstrip()}",
        "x".join(map(str, layer.shape)),
        f"{layer.sparsity:.1%}\n{layer.pattern}",
        "?" if layer.macs is None else f"{layer.macs:,}",
    ]
    if exported:
        cells.append(f"{layer.kernel or '?'}\n{layer.reason}".rstrip())
    return cells


def _caption(found: Inspection) -> str:
    if found.macs is None or found.int8_macs is None:
        return found.unfinished or (
            "Which kernel runs a layer is decided when an exported file is loaded: "
            "inspect the .tflite."
        )
    share = found.int8_macs / found.macs if found.macs else 1.0
    if any(layer.format == A16W8 for layer in found.layers):
        return f"{found.macs:,} MACs, {share:.1%} of them in {A16W8}."
    told = f"{found.macs:,} MACs, {share:.1%} of them in int8. {xnnpack_note()}"
    return f"{told} {found.advice}".rstrip()
