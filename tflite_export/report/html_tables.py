"""The tables of the HTML report."""

from collections.abc import Iterable
from html import escape

from qsparse.tflite_export.parity.difference import ROUNDING_LSB, TensorParity
from qsparse.tflite_export.parity.sides import SIDES
from qsparse.tflite_export.report.text import quality
from qsparse.tflite_export.verify import Verification


def side_table(found: Verification) -> str:
    """Returns what each side makes of the outputs."""
    several = len({entry.output for entry in found.sides}) > 1
    return _table(
        ("computed by", "accuracy", "same class as Keras", "mean off", "max off"),
        (
            (
                "",
                [
                    escape(SIDES[s.side] + (f": {s.output}" if several else "")),
                    quality(s.accuracy, s.mean_error),
                    "–" if s.same_class is None else f"{s.same_class:.2%}",
                    f"{s.mean_off:.4g}",
                    f"{s.max_off:.4g}",
                ],
            )
            for s in found.sides
        ),
    )


def tensor_table(found: Verification) -> str:
    """Returns how far every tensor is off, in order of execution."""
    top = max([t.accumulated.max_lsb for t in found.tensors] + [1])
    return _table(
        (
            *("layer", "op", "from the input", "mean", "&gt; 1 LSB"),
            *("alone", "mean", "range", "LSB"),
        ),
        ((_kind(found, entry), _tensor_cells(entry, top)) for entry in found.tensors),
        texts=2,
    )


def weight_table(found: Verification) -> str:
    """Returns what became of the weights of every layer."""
    return _table(
        ("layer", "pattern", "weights", "zeros", "pruned", "zeros lost", "changed"),
        (
            (
                "bad" if row.lost_zeros or (row.changed and row.compressed) else "",
                [
                    f'<span title="{escape(row.tensor or "")}">{breakable(row.layer)}'
                    "</span>",
                    escape(row.pattern or "dense"),
                    f"{row.weights:,}",
                    f"{row.zeros / max(row.weights, 1):.1%}"
                    if row.tensor is not None
                    else escape(row.state),
                    f"{row.masked:,}",
                    f"{row.lost_zeros:,}",
                    f"{row.changed:,}",
                ],
            )
            for row in found.weights
        ),
        texts=2,
    )


def breakable(name: str) -> str:
    """Returns an escaped path that may be broken where a folder or a word ends."""
    return escape(name).replace("/", "/<wbr>").replace("_", "_<wbr>")


def _table(
    header: Iterable[str], rows: Iterable[tuple[str, list[str]]], texts: int = 1
) -> str:
    """Returns a table.

    Args:
        header: names of the columns, as HTML.
        rows: (CSS class, cells as HTML).
        texts: columns of text, aligned left; numbers follow.
    """
    head = "".join(f"<th>{name}</th>" for name in header)
    body = "".join(
        f'<tr class="{kind}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        for kind, cells in rows
    )
    return (
        f'<div class="scroll"><table class="texts{texts}">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _kind(found: Verification, entry: TensorParity) -> str:
    kinds = ["grows"] if entry.tensor == found.first_growth else []
    return " ".join(kinds + (["bad"] if entry.local.max_lsb > ROUNDING_LSB else []))


def _tensor_cells(entry: TensorParity, top: int) -> list[str]:
    whole, alone = entry.accumulated, entry.local
    fused = f"<small>with {breakable(', '.join(entry.fused))}</small>"
    return [
        f'<span title="{escape(entry.tensor)}">{breakable(entry.label)}</span>'
        + (fused if entry.fused else ""),
        escape(entry.op),
        f'<span class="meter"><i style="width:{100 * whole.max_lsb / top:.0f}%"></i>'
        f"</span>{whole.max_lsb}",
        f"{whole.mean_lsb:.4f}",
        f"{whole.off_by_more:.3%}",
        f"{alone.max_lsb}",
        f"{alone.mean_lsb:.4f}",
        escape(entry.source),
        f"{entry.scale:.4g}",
    ]
