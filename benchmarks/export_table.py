"""The rows of `make bench-export` as a table for the docs."""

from typing import Any


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """Returns Markdown: one table of figures, one of the ops in each file.

    Args:
        rows: what `make bench-export` writes as JSON.
    """
    parts = [_figures(rows), _ops(rows), *filter(None, map(_accuracy, rows))]
    return "\n\n".join(parts) + "\n"


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
        "op by op, LSB max / mean",
        "graph without oneDNN",
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
            f"{row['op_by_op']['max_lsb_of_one_op']:.0f} / "
            f"{row['op_by_op']['mean_lsb_of_one_op']:.0e}",
            _floor(row["op_by_op"]["graph_against_itself"]),
            _floor(row["difference_from_litert"]["builtin"]),
            _floor(row["difference_from_litert"]["ours"]),
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


def _accuracy(row: dict[str, Any]) -> str:
    found = row.get("accuracy")
    if found is None:
        return ""
    if row["network"] == "efficientnet_lite0":
        return (
            f"EfficientNet-Lite0, six photos: {found['equal']} keep their class "
            f"({found['top1_float']} in float, {found['top1_int8']} in int8)."
        )
    return (
        f"MiniLM, embeddings of {found['sentences']} sentences: cosine to Keras "
        f"{found['cosine_int8']:.4f} in int8 (least {found['least_cosine_int8']:.4f}), "
        f"{found['cosine_dynamic_range']:.4f} with float activations (least "
        f"{found['least_cosine_dynamic_range']:.4f}). Fine-tuned on film sentences, "
        f"{found['tested']} others: {found['accuracy_float']:.1%} in float, "
        f"{found['accuracy_fake_quant']:.1%} with fake quantization in Keras, "
        f"{found['accuracy_int8']:.1%} in the file ({found['flipped']} labels differ)."
    )


def _floor(difference: dict[str, Any] | str) -> str:
    if isinstance(difference, str):
        return "does not run"
    return (
        f"{difference['max_lsb']:.0f} LSB, {difference['off_by_more_than_1']:.1%} > 1"
    )


def _beside(value: float, before: float | None, unit: str, divisor: float) -> str:
    text = f"{value / divisor:.1f}{unit}"
    return text if before is None else f"{text} (before: {before / divisor:.1f})"


def _table(columns: tuple[str, ...], lines: list[list[str]]) -> str:
    rows = [list(columns), ["---"] * len(columns), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
