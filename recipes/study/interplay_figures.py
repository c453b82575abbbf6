"""The figures of a study of interplay, as PNG."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from qsparse.recipes.study.interplay_findings import (
    PRUNED_FIRST,
    QUANTIZED_FIRST,
    Cell,
    Findings,
)

_COLORS = ("#2f6db5", "#d9722e", "#1f7a4d", "#8e5bb5")


def heat_map(found: Findings) -> bytes | None:
    """Draws the metric minus its threshold: patterns by formats, for each protocol."""
    plates = [
        (protocol, order)
        for protocol in found.names("protocol")
        for order in (PRUNED_FIRST, QUANTIZED_FIRST)
        if any(c.protocol == protocol and c.order == order for c in found.cells)
    ]
    patterns, formats = found.names("pattern"), found.names("format")
    grids = [excess(found, *plate) for plate in plates]
    if not grids or np.isnan(grids).all():
        return None
    most = float(np.nanmax(np.abs(grids))) or 1.0

    def draw(figure: Any) -> None:
        columns = 2
        rows = -(-len(plates) // columns)
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis, (plate, grid) in zip(
            axes.flat, zip(plates, grids, strict=True), strict=False
        ):
            image = axis.imshow(grid, cmap="RdBu_r", vmin=-most, vmax=most)
            axis.set_xticks(range(len(formats)), formats, rotation=45, ha="right")
            axis.set_yticks(range(len(patterns)), patterns)
            axis.set_title(f"{plate[0]}, {plate[1]}", fontsize=10)
            for (y, x), value in np.ndenumerate(grid):
                if np.isfinite(value):
                    color = "white" if abs(value) > 0.6 * most else "#1d2430"
                    axis.text(
                        x,
                        y,
                        f"{value:+.3f}",
                        ha="center",
                        va="center",
                        fontsize=7,
                        color=color,
                    )
        for axis in axes.flat[len(plates) :]:
            axis.set_axis_off()
        figure.colorbar(image, ax=axes, shrink=0.6, label=f"{found.metric}: worse by")

    return _png(draw, (10, 2.6 * -(-len(plates) // 2) + 0.6))


def excess(found: Findings, protocol: str, order: str) -> np.ndarray:
    """Returns the metric minus its threshold, `(patterns, formats)`; NaN if not run."""
    rows = [
        [
            list(found.exceeds(Cell(protocol, pattern, format, order)).values())
            for format in found.names("format")
        ]
        for pattern in found.names("pattern")
    ]
    return np.array([[np.mean(c) if c else np.nan for c in row] for row in rows])


def order_gaps(found: Findings) -> bytes | None:
    """Draws by how much quantizing first is worse, by format, for each protocol."""
    bars = {
        protocol: [found.pooled_gap(protocol, f) for f in found.names("format")]
        for protocol in found.names("protocol")
    }
    bars = {protocol: gaps for protocol, gaps in bars.items() if any(gaps)}
    if not bars:
        return None
    formats = found.names("format")

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        width = 0.8 / len(bars)
        for number, (protocol, gaps) in enumerate(bars.items()):
            at = np.arange(len(formats)) + (number - (len(bars) - 1) / 2) * width
            means = [np.nan if gap is None else gap.mean for gap in gaps]
            halves = [
                np.nan if gap is None or not np.isfinite(gap.half) else gap.half
                for gap in gaps
            ]
            axis.bar(
                at,
                means,
                width,
                yerr=halves,
                capsize=3,
                label=protocol,
                color=_COLORS[number % len(_COLORS)],
            )
        axis.axhline(0.0, color="#8a8f98", linewidth=0.8)
        axis.set_xticks(range(len(formats)), formats)
        axis.set_ylabel(f"{found.metric}: Q->S worse than S->Q by")
        axis.legend()

    return _png(draw, (10, 3.0))


def propagation(found: Findings) -> bytes | None:
    """Draws how the error of what flows into layers grows with depth, both orders."""
    patterns = list(dict.fromkeys(pattern for pattern, _ in found.analyses))
    formats = list(dict.fromkeys(format for _, format in found.analyses))
    if not patterns:
        return None

    def draw(figure: Any) -> None:
        axes = figure.subplots(1, len(patterns), sharey=True, squeeze=False)[0]
        for axis, pattern in zip(axes, patterns, strict=True):
            for number, format in enumerate(formats):
                analysis = found.analyses.get((pattern, format))
                if analysis is None:
                    continue
                for order, style in ((PRUNED_FIRST, "-"), (QUANTIZED_FIRST, ":")):
                    errors = [
                        layer["arriving"].get(order, np.nan)
                        for layer in analysis["layers"]
                    ]
                    axis.plot(
                        errors,
                        style,
                        color=f"C{number}",
                        label=format if style == "-" else None,
                    )
            axis.set(title=pattern, xlabel="layer")
        axes[0].set_ylabel("error of what flows in, relative")
        axes[-1].legend(fontsize=8)

    return _png(draw, (11, 3.4))


def accuracy_by_size(found: Findings) -> bytes | None:
    """Draws the metric over the bits that a weight takes, by protocol.

    Bits are those of the kept weights and of the mask, a bit for each weight; scales
    are not counted.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    for cell in found.cells:
        values = list(found.seeds(cell).values())
        bits = _bits(cell)
        if cell.order == PRUNED_FIRST and values and bits is not None:
            points.setdefault(cell.protocol, []).append((bits, float(np.mean(values))))
    if not points:
        return None

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        for number, (protocol, pairs) in enumerate(points.items()):
            axis.scatter(
                *zip(*pairs, strict=True),
                label=protocol,
                color=_COLORS[number % len(_COLORS)],
            )
        axis.set(xlabel="bits per weight of a pruned layer, S->Q", ylabel=found.metric)
        axis.legend()

    return _png(draw, (10, 3.0))


def _bits(cell: Cell) -> float | None:
    digits = "".join(c for c in cell.format.partition("-")[0] if c.isdigit())
    kept = _kept(cell.pattern)
    return None if not digits or kept is None else kept * int(digits) + 1.0


def _kept(pattern: str) -> float | None:
    name, _, share = pattern.partition("@")
    if share:
        return 1.0 - float(share.removesuffix("%")) / 100
    n, _, m = name.partition(":")
    return int(n) / int(m) if m else None


def _png(draw: Callable[[Any], None], size: tuple[float, float]) -> bytes:
    """Returns a picture.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()
