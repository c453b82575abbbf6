"""What `qsparse inspect` says of one layer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerInfo:
    """One layer with weights.

    Attributes:
        layer: its path in the model, or the name of its weights.
        op: LiteRT op; None in a .keras file.
        shape: shape of the weights.
        macs: multiply-accumulates of one inference, all rounds of a loop included;
            None where a .keras file does not tell the shape of the layer's input.
        pattern: see `detect_pattern`.
        sparsity: share of zero weights.
        format: what it computes (.keras: trains) in: "int8", "a16w8", "float", or (in a
            .keras file) the name of a format of the user's.
        kernel: what runs it; None in a .keras file, and where LiteRT cannot say.
        reason: why that kernel.
    """

    layer: str
    op: str | None
    shape: tuple[int, ...]
    macs: int | None
    pattern: str
    sparsity: float
    format: str
    kernel: str | None = None
    reason: str = ""
