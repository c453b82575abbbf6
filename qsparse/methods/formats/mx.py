"""Microscaling formats (MX): small floats in blocks of a shared power of two."""

import re
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from keras import ops

from qsparse.methods.formats.base import FORMATS
from qsparse.methods.formats.blocks import power_below
from qsparse.methods.formats.blockwise import Blockwise

# The least power of two that float32 holds as a normal number.
_LEAST = 2.0**-126


class _Element(NamedTuple):
    """A float of a few bits, by the OCP Microscaling Formats specification 1.0.

    Attributes:
        name: as in "mxfp8".
        mantissa: its bits, beside the leading one.
        least: exponent of the least normal number.
        most: exponent of the greatest number.
        largest: that number.
    """

    name: str
    mantissa: int
    least: int
    most: int
    largest: float


_ELEMENTS = {
    "e4m3": _Element("fp8", 3, -6, 8, 448.0),
    "e5m2": _Element("fp8", 2, -14, 15, 57344.0),
    "e2m3": _Element("fp6", 3, 0, 2, 7.5),
    "e3m2": _Element("fp6", 2, -2, 4, 28.0),
    "e2m1": _Element("fp4", 1, 0, 2, 6.0),
}
# What a name without the element means: those of the paper.
_USUAL = {"fp8": "e4m3", "fp6": "e2m3", "fp4": "e2m1"}


@FORMATS.register("mx")
@dataclass(frozen=True)
class MX(Blockwise):
    """Small floats in blocks, which share a power of two (OCP MX v1.0).

    With `m` for the greatest size in a block and `emax` for the exponent of the
    greatest element:

        scale = 2^(floor(log2 m) - emax)
        x'    = scale * nearest_element(x / scale)

    to nearest, ties to even, and clipped to the greatest element: a number that lies
    beyond loses up to a quarter in e2m1, an eighth in the formats of two or three bits
    of mantissa and a sixteenth in e2m3. Scales are not less than 2^-126, where the
    specification has 2^-127.

    Text like "mxfp8", "mxfp6", "mxfp4", "mxfp8-e5m2" or "mxfp4-stochastic" names it;
    without the element it is e4m3, e2m3 and e2m1.

    Args:
        element: "e4m3", "e5m2", "e2m3", "e3m2" or "e2m1".
        block: how many numbers share a scale, positive.
        rounding, seed: as of `Blockwise`.

    Raises:
        ValueError: if one of them is none of these, or outside.
    """

    equal_steps: ClassVar[bool] = False

    element: str = "e4m3"
    block: int = 32
    rounding: str = "nearest"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.element not in _ELEMENTS:
            raise ValueError(
                f"`element` must be one of {', '.join(_ELEMENTS)}. Received: "
                f"element={self.element!r}"
            )

    @classmethod
    def from_text(cls, text: str) -> "MX | None":
        """Returns the format that a text names, or None."""
        match = re.fullmatch(r"mx(fp[864])(?:-(e\dm\d))?(?:-(stochastic))?", text)
        if match is None:
            return None
        size, element, rounding = match.groups()
        found = cls(element or _USUAL[size], rounding=rounding or "nearest")
        return found if found._element.name == size else None

    @property
    def _element(self) -> _Element:
        return _ELEMENTS[self.element]

    def coded(self, blocks: Any) -> tuple[Any, Any]:
        """Returns `(elements, scales)`."""
        most = ops.max(ops.abs(blocks), axis=-1, keepdims=True)
        scales = ops.maximum(power_below(most) * 2.0**-self._element.most, _LEAST)
        return self.elements(blocks / scales), scales

    def elements(self, scaled: Any) -> Any:
        """Returns the elements that numbers are rounded to."""
        element = self._element
        powers = ops.maximum(power_below(ops.abs(scaled)), 2.0**element.least)
        steps = powers * 2.0**-element.mantissa
        rounded = self.whole_numbers(scaled / steps, scaled) * steps
        return ops.clip(rounded, -element.largest, element.largest)

    def __str__(self) -> str:
        name = self._element.name
        usual = _USUAL[name] == self.element
        element = f"-{self.element}" * (not usual)
        return f"mx{name}{element}{self.how}{self.in_blocks}"
