"""The rows of `make layers-table` as a page of the docs."""

from collections import Counter

from benchmarks.markdown import explain, head, quantity, table
from benchmarks.verdict import FAULT, FLOAT, PRUNED, QUANTIZED, REFUSED, UNAVAILABLE
from qsparse.recipes.study.rows import Row

_INTRODUCTION = """# Every layer of Keras

Each layer of `keras.layers` stands in a small network that fits its input, between
layers that can be pruned. The network is trained for three steps with
`PruneThenQuantize()`, exported with `qsparse.export`, loaded with and without our
delegate (which must agree bit for bit), run on samples that the training has not seen,
and compared with what Keras' own `predict` says. Base classes, whose `call` only
raises, and aliases have no row.

| outcome | meaning |
|---|---|
| pruned | weights of this layer are pruned, and the file computes in int8 |
| quantized | the file computes in int8 from its input to its output |
| float | something in the file stays in float; the reason says what |
| refused | training or export stops, with a message that says why |
| unavailable | Keras itself needs another package or backend for it |

SQNR is the power of what Keras predicts over that of the difference, in dB, at the end
of the small network, int8 outputs included. Three steps train no accuracy; the figure
is about the export, not about the model.
"""


def layers_page(rows: list[Row]) -> str:
    """Returns the page, in Markdown.

    Args:
        rows: as `make layers-table` writes them, in the order of the page.
    """
    counts = Counter(row["outcome"] for row in rows)
    order = (PRUNED, QUANTIZED, FLOAT, REFUSED, UNAVAILABLE, FAULT)
    total = ", ".join(f"{counts[name]} {name}" for name in order if counts[name])
    lines = [
        [
            f"`{row['name']}`",
            row["outcome"],
            quantity(row.get("sqnr_db")),
            explain(row),
        ]
        for row in rows
    ]
    columns = ("layer", "outcome", "SQNR, dB", "reason")
    made = head("make layers-table", f"{len(rows)} layers: {total}.")
    return "\n".join([_INTRODUCTION, made, table(columns, lines)])
