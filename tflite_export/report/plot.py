"""The plot of a verification: how far every tensor of a file is off."""

import base64
import io
from typing import Any

from qsparse.tflite_export.verify import Verification

_BLUE, _ORANGE, _RED, _GREY = "#2f6db5", "#d9722e", "#c0392b", "#8a8f98"
_LONGEST_LABEL = 38
_MOST_LABELS = 60  # beyond this many tensors only every n-th is named
_LINEAR = 8  # LSBs; greater differences are drawn on a logarithmic scale


def draw(found: Verification) -> str:
    """Returns the plot as a PNG in base64.

    Args:
        found: the result; one column per tensor, in order of execution.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError(
            "the plots of the report need matplotlib: pip install 'keras-qsparse[plot]'"
        ) from error
    width = min(max(9.0, 0.32 * len(found.tensors)), 18.0)
    figure = Figure(figsize=(width, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    _columns(figure.subplots(), found)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=160)
    return base64.b64encode(stream.getvalue()).decode()


def _columns(axes: Any, found: Verification) -> None:
    positions = list(range(len(found.tensors)))
    whole = [entry.accumulated.max_lsb for entry in found.tensors]
    alone = [entry.local.max_lsb for entry in found.tensors]
    axes.axhspan(0, 1, color=_GREY, alpha=0.15, linewidth=0, label="rounding: 1 LSB")
    axes.plot(
        positions,
        whole,
        color=_BLUE,
        marker="o",
        markersize=5,
        label="from the input (accumulated)",
    )
    axes.bar(
        positions,
        alone,
        color=[_RED if value > 1 else _ORANGE for value in alone],
        alpha=0.85,
        width=0.5,
        label="the op alone (local)",
    )
    top = max([*whole, *alone, 1])
    if top > _LINEAR:
        axes.set_yscale("symlog", linthresh=2, linscale=0.8)
        ticks = [t for t in (0, 1, 2, 5, 10, 20, 50, 100, 255) if t <= top * 1.5]
        axes.set_yticks(ticks, [str(t) for t in ticks])
        axes.minorticks_off()
    else:
        axes.set_yticks(range(top + 2))
    axes.set_ylim(0, top * (1.7 if top > _LINEAR else 1.15) + 0.5)
    _mark_growth(axes, found)
    step = -(-len(positions) // _MOST_LABELS)
    axes.set_xticks(
        positions[::step],
        [_short(entry.label) for entry in found.tensors[::step]],
        rotation=45,
        ha="right",
        rotation_mode="anchor",
        fontsize=8,
        parse_math=False,
    )
    axes.set_xlim(-0.7, len(positions) - 0.3)
    axes.set_ylabel("greatest difference, LSB")
    axes.grid(axis="y", color=_GREY, alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    axes.legend(**above, frameon=False, fontsize=9, ncols=3)


def _mark_growth(axes: Any, found: Verification) -> None:
    for position, entry in enumerate(found.tensors):
        if entry.tensor != found.first_growth:
            continue
        axes.axvline(position, color=_RED, linestyle=":", linewidth=1.2, zorder=0)
        right = position > 0.7 * len(found.tensors)
        axes.annotate(
            "first grows here",
            (position, 1),
            (-6 if right else 6, -4),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            va="top",
            ha="right" if right else "left",
            color=_RED,
            fontsize=9,
        )


def _short(name: str) -> str:
    """Returns the end of a long name, which tells layers apart."""
    return name if len(name) <= _LONGEST_LABEL else f"…{name[1 - _LONGEST_LABEL :]}"
