"""What the pages of the tables share."""

from collections.abc import Iterable, Sequence

from qsparse.recipes.study.rows import Row

# Why LiteRT, or our export, leaves an op in float; the first that is there speaks.
_WHY_FLOAT = (
    ("WHILE", "a loop, whose body LiteRT runs in float"),
    ("IF", "a branch, which LiteRT runs in float"),
    ("RFFT2D", "a Fourier transform, for which LiteRT has only a float kernel"),
    ("RSQRT", "a normalization, which int8 would make coarse"),
    ("CONV_3D", "three-dimensional kernels, which LiteRT has only in float"),
    ("CONV_3D_TRANSPOSE", "three-dimensional kernels, which LiteRT has only in float"),
)


def head(command: str, counts: str) -> str:
    """Returns the paragraph above a table."""
    return f"{counts} Made by `{command}`; do not edit by hand.\n"


def table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    rows = [columns, ["---"] * len(columns), *lines]
    return "".join(f"| {' | '.join(map(_cell, row))} |\n" for row in rows)


def quantity(value: float | None) -> str:
    """Returns a rounded number, or a dash where there is none."""
    return "-" if value is None else f"{value:.0f}"


def explain(row: Row) -> str:
    """Returns why a row is not plainly int8, and what the user was warned of."""
    if row["note"]:
        return row["note"]
    parts = []
    if row["float_ops"]:
        found = set(row["float_ops"])
        why = next((text for op, text in _WHY_FLOAT if op in found), None)
        ops = ", ".join(sorted(found))
        parts.append(f"{why}: {ops}" if why else f"float ops: {ops}")
    parts += [f"warning: {text}" for text in row["warnings"]]
    return "; ".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
