"""The rows of `make zoo-table` as a page of the docs."""

from benchmarks.markdown import explain, head, quantity, table
from benchmarks.verdict import FAULT
from benchmarks.zoo_configs import LEFT_OUT
from qsparse.recipes.study.rows import Row

_INTRODUCTION = """# The zoo

One model of each family of `keras.applications` and of keras-hub's backbones, with
random weights and as small as the family allows; backbones get a pooled classifier.
Each is trained for three steps with `PruneThenQuantize()` on real images
(Fashion-MNIST) or the bytes of real text, exported with `qsparse.export`, loaded with
and without our delegate (which must agree bit for bit), run on samples that the
training has not seen, and compared with what Keras' own `predict` says. A file that is
less than 25 dB from Keras must come with a warning that says so.

Weights this fresh are harder to quantize than trained ones: nothing has settled, and
the classes lie close together.
"""


def zoo_page(rows: list[Row]) -> str:
    """Returns the page, in Markdown.

    Args:
        rows: as `make zoo-table` writes them, in the order of the page.
    """
    faults = sum(row["outcome"] == FAULT for row in rows)
    lines = [
        [
            f"`{row['name']}`",
            row["outcome"],
            quantity(row.get("sqnr_db")),
            "-" if row.get("int8_share") is None else f"{row['int8_share']:.0%}",
            f"{len(row['pruned'])} of {len(row['pruned']) + len(row['unpruned'])}",
            explain(row),
        ]
        for row in rows
    ]
    columns = ("model", "outcome", "SQNR, dB", "int8 MACs", "layers pruned", "notes")
    made = head("make zoo-table", f"{len(rows)} models, {faults} faults.")
    left_out = [[f"`{name}`", why] for name, why in sorted(LEFT_OUT.items())]
    return "\n".join(
        [
            _INTRODUCTION,
            made,
            table(columns, lines),
            "Families without a row:\n",
            table(("backbone", "reason"), left_out),
        ]
    )
