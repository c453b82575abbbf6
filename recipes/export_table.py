"""The rows of `make bench-export` as a table for the docs."""

from typing import Any


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """Returns Markdown: one table of figures, one of the ops in each file.

    Args:
        rows: what `make bench-export` writes as JSON.
    """
    return "\n\n".join((_figures(rows), _ops(rows))) + "\n"


def _figures(rows: list[dict[str, Any]]) -> str:
    columns = (
        "network",
        "time",
        "memory",
        "MACs in int8",
        "claimable",
        "size raw / gzip / packed",
        "LSB max / mean",
        "off by > 1 LSB",
        "built-in kernels vs XNNPACK",
        "delegate vs XNNPACK",
    )
    lines = [
        [
            row["network"],
            _beside(row["seconds"], row["seconds_before"], " s", 1),
            _beside(row["peak_bytes"], row["peak_bytes_before"], " GB", 1e9),
            f"{row['int8_share']:.1%}",
            f"{row['claimable_share']:.1%}",
            " / ".join(
                f"{row[f'{form}_bytes'] / 1e6:.1f}"
                for form in ("raw", "gzip", "packed")
            )
            + " MB",
            f"{row['max_lsb']:.0f} / {row['mean_lsb']:.2f}",
            f"{row['off_by_more_than_1']:.1%}",
            _floor(row["difference_from_litert"]["builtin"]),
            f"{row['delegate_differences']} differences",
        ]
        for row in rows
    ]
    return _table(columns, lines)


def _ops(rows: list[dict[str, Any]]) -> str:
    lines = [
        [
            row["network"],
            ", ".join(f"{count} {op}" for op, count in sorted(row["ops"].items())),
        ]
        for row in rows
    ]
    return _table(("network", "ops"), lines)


def _floor(difference: dict[str, Any] | str) -> str:
    if isinstance(difference, str):
        return "does not run"
    return f"{difference['max_lsb']} LSB, {difference['off_by_more_than_1']:.1%} > 1"


def _beside(value: float, before: float | None, unit: str, divisor: float) -> str:
    text = f"{value / divisor:.1f}{unit}"
    return text if before is None else f"{text} (before: {before / divisor:.1f})"


def _table(columns: tuple[str, ...], lines: list[list[str]]) -> str:
    rows = [list(columns), ["---"] * len(columns), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
