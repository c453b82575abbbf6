"""A plot of what was found layer by layer, as PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path


def draw_lines(
    path: str | Path,
    layers: Sequence[str],
    lines: Mapping[str, Sequence[float]],
    *,
    what: str,
    title: str,
) -> None:
    """Draws a line for each thing that was found of every layer.

    Args:
        path: where to write.
        layers: their names, from left to right.
        lines: by what stands in the legend, a number for each layer; NaN is left out.
        what: the numbers are.
        title: of the plot.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError(
            "the plot needs matplotlib: pip install 'keras-qsparse[plot]'"
        ) from error
    figure = Figure(figsize=(max(6, 0.3 * len(layers)), 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, numbers in lines.items():
        axes.plot(range(len(layers)), numbers, marker="o", label=name)
    axes.axhline(0.0, color="#8a8f98", linewidth=0.8)
    axes.set_xticks(range(len(layers)), layers, rotation=90)
    axes.set(ylabel=what, title=title)
    axes.legend()
    figure.savefig(path, dpi=120)
