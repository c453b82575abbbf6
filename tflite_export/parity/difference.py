"""How far the tensors of a file are off, and where that begins."""

from dataclasses import asdict, dataclass
from typing import Any

# Two correct roundings of one value differ by no more.
ROUNDING_LSB = 1


@dataclass(frozen=True)
class Difference:
    """How far one tensor is off, in LSBs of its scale.

    Attributes:
        max_lsb: greatest difference of a value.
        mean_lsb: mean difference.
        off_by_more: share of the values that differ by more than one LSB, 0 to 1.
    """

    max_lsb: int = 0
    mean_lsb: float = 0.0
    off_by_more: float = 0.0


@dataclass(frozen=True)
class TensorParity:
    """One int8 tensor of a file, compared.

    Attributes:
        tensor: its name in the file.
        op: the LiteRT op that computes it; "input" for an input.
        layer: path of the Keras layer it belongs to; "" outside of all layers.
        fused: other layers that became part of the op.
        inputs: names (in the file) of the compared tensors it is computed from.
        scale: the size of an LSB.
        source: where its range is from: "trained", "calibrated" or "fixed".
        accumulated: difference if both sides run from the input of the model.
        local: difference if the model's op is fed what the file's op was fed.
    """

    tensor: str
    op: str
    layer: str
    fused: tuple[str, ...]
    inputs: tuple[str, ...]
    scale: float
    source: str
    accumulated: Difference
    local: Difference

    @property
    def label(self) -> str:
        """What people call the tensor: its layer where it has one."""
        return self.layer or ("model input" if self.op == "input" else self.tensor)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON-ready values."""
        return asdict(self)


def first_growth(tensors: list[TensorParity]) -> TensorParity | None:
    """Returns the tensor at which the difference first grows.

    That is the first, in order of execution, whose own op is off by more than rounding:
    its local difference exceeds one LSB. If every op rounds well, it is the first whose
    greatest accumulated difference exceeds that of each tensor it is computed from by
    more than one LSB: it stretches what it inherits, for its LSB is the finer one.

    Args:
        tensors: every compared tensor, in order of execution.
    """
    for entry in tensors:
        if entry.local.max_lsb > ROUNDING_LSB:
            return entry
    known = {entry.tensor: entry.accumulated.max_lsb for entry in tensors}
    for entry in tensors:
        before = max((known[name] for name in entry.inputs), default=0)
        if entry.accumulated.max_lsb > before + ROUNDING_LSB:
            return entry
    return None
