"""The demo's picture: accuracy and sparsity over training, latency and size."""

from pathlib import Path
from typing import Any

BLUE, ORANGE, GREY = "#2f6db5", "#d9722e", "#8a8f98"


def draw(path: Path, report: dict[str, Any], dense: dict, sparse: dict) -> bool:
    """Writes the picture as PNG; needs matplotlib, and says so if it is missing.

    Args:
        path: where to write.
        report: the demo's report.
        dense: Keras history of the dense run.
        sparse: Keras history of the compressed run.

    Returns:
        Whether it was written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: install matplotlib (pip install 'keras-qsparse[plot]')")
        return False
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    training, latency = figure.subplots(1, 2, width_ratios=(3, 2))
    _training(training, dense, sparse)
    _latency(latency, report)
    figure.savefig(path, dpi=120)
    return True


def _training(axes: Any, dense: dict, sparse: dict) -> None:
    epochs = range(1, len(dense["val_accuracy"]) + 1)
    axes.plot(
        epochs, dense["val_accuracy"], color=GREY, marker="o", label="dense float"
    )
    axes.plot(
        epochs,
        sparse["val_accuracy"],
        color=BLUE,
        marker="o",
        label="PruneThenQuantize",
    )
    axes.plot(
        epochs,
        sparse["sparsity"],
        color=ORANGE,
        linestyle="--",
        label="sparsity of pruned layers",
    )
    int8 = [e for e, phase in zip(epochs, sparse["phase"], strict=True) if phase >= 2]
    if int8:
        axes.axvspan(int8[0] - 0.5, int8[-1] + 0.5, color=BLUE, alpha=0.08)
        axes.text(int8[-1] + 0.45, 0.03, "trains in int8", color=BLUE, ha="right")
    axes.set(
        xlabel="epoch after the dense start",
        ylim=(0, 1),
        xticks=list(epochs),
        title="Test accuracy while it becomes sparse and int8",
    )
    axes.legend(loc="lower left", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _latency(axes: Any, report: dict[str, Any]) -> None:
    names = ["float dense\nXNNPACK", "int8 dense\nXNNPACK", "int8 sparse\nqsparse"]
    keys = ["float_dense", "int8_dense", "int8_sparse"]
    values = [report["latency_us"][key]["min"] for key in keys]
    bars = axes.bar(names, values, color=[GREY, GREY, BLUE], width=0.6)
    for bar, key, value in zip(bars, keys, values, strict=True):
        text = f"{value:,.0f} us\n{report['accuracy'][key]:.1%}"
        axes.annotate(
            text, (bar.get_x() + bar.get_width() / 2, value), ha="center", va="bottom"
        )
    axes.set(
        ylabel="microseconds per image, one core",
        ylim=(0, max(values) * 1.2),
        title=f"{report['latency_ratio_vs_xnnpack']:.1f}x as fast as dense int8",
    )
    axes.spines[["top", "right"]].set_visible(False)
