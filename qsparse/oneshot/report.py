"""The report of a one-shot compression."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LayerResult:
    """What became of one layer.

    Attributes:
        path: where it lies in the model.
        pattern: the pattern of its mask, or "dense".
        sparsity: share of its weights that the mask drops, in [0, 1).
        error: `||W X - W' X||^2 / ||W X||^2` on the data, of its weights alone; what
            flows in is X, from the compressed layers before it.
        magnitude: the same for magnitude's mask with weights as they are, rounded to
            nearest; the baseline.
        seconds: what it took.
    """

    path: str
    pattern: str
    sparsity: float
    error: float
    magnitude: float
    seconds: float


@dataclass(frozen=True)
class OneShotReport:
    """What a one-shot compression made of a model; `print` shows it as a table.

    Attributes:
        method: the method.
        samples: how many samples of data it has seen.
        layers: a row for each layer that was solved, in the order they are called.
        rounded: paths of layers that are only rounded to nearest, as depthwise
            convolutions.
        renormalized: how many normalizations have statistics of the data now.
        seconds: what all of it took.
    """

    method: str
    samples: int
    layers: tuple[LayerResult, ...]
    rounded: tuple[str, ...]
    renormalized: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-ready description."""
        return asdict(self)

    def __str__(self) -> str:
        width = max((len(row.path) for row in self.layers), default=5)
        width = max(width, 5)
        lines = [
            f"{'layer':{width}}  {'pattern':14} sparsity      error  magnitude  seconds"
        ]
        lines += [
            f"{row.path:{width}}  {row.pattern:14} {row.sparsity:8.1%} "
            f"{row.error:10.3g} {row.magnitude:10.3g} {row.seconds:8.1f}"
            for row in self.layers
        ]
        if self.rounded:
            lines.append(f"Rounded to nearest only: {', '.join(self.rounded)}.")
        lines.append(
            f"{self.method} on {self.samples} samples, {self.renormalized} "
            f"normalizations estimated anew, {self.seconds:.1f} s."
        )
        return "\n".join(lines)
