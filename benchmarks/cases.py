"""What `make bench-kernels` measures: shapes, patterns, instruction sets."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.chain_models import chain_model
from benchmarks.one_op_models import conv2d_model, fully_connected_model
from benchmarks.sparse_weights import sparse_weights

BLOCKS = ("4x4", "8x4", "16x4", "32x4")
BLOCK_SPARSITIES = (0.5, 0.75, 0.8, 0.9)
BALANCED = ("2:4", "1:4", "2:8", "4:16", "16:64", "12:64", "8:64", "4:64")
UNSTRUCTURED_SPARSITIES = (0.8, 0.9, 0.95)
ISAS = ("avx512vnni", "avxvnni", "avx2")

# Small layers are repeated, so that the interpreter's own time does not show.
_LEAST_MACS = 40_000_000
_MOST_LAYERS = 8


@dataclass(frozen=True)
class Shape:
    """A layer, or a chain of layers, without its weights.

    Attributes:
        group: what geometric means are taken over.
        op: "fc", "conv" or "chain".
        rows: rows of a fully connected layer; height and width of an image.
        channels: input channels of the layer, or of each layer of a chain and the
            output channels of the last.
        taps: side of a convolution's window.
        layers: parallel layers that read one input.
    """

    group: str
    op: str
    rows: int
    channels: tuple[int, ...]
    taps: int = 1
    layers: int = 1

    @property
    def text(self) -> str:
        """The shape as the table shows it."""
        if self.op == "conv":
            window = f"{self.taps}x{self.taps}"
            return f"{self.rows}x{self.rows}x{_joined(self.channels, '->')} {window}"
        return f"{self.rows}x" + _joined(self.channels, "x-"[self.op == "chain"])

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the model's input."""
        if self.op == "conv":
            return (1, self.rows, self.rows, self.channels[0])
        return (self.rows, self.channels[0])

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference with dense weights."""
        pairs = zip(self.channels[:-1], self.channels[1:], strict=True)
        rows = self.rows**2 if self.op == "conv" else self.rows
        return rows * self.taps**2 * sum(a * b for a, b in pairs) * self.layers

    def model(self, pattern: str, sparsity: float) -> tuple[bytes, float]:
        """Returns a file with random weights of a pattern, and their density."""
        window = (self.taps, self.taps) if self.op == "conv" else ()
        pairs = zip(self.channels[:-1], self.channels[1:], strict=True)
        weights = [
            sparse_weights((outputs, *window, inputs), pattern, 1 - sparsity, seed)
            for seed, (inputs, outputs) in enumerate(pairs)
        ]
        kept = sum(np.count_nonzero(kernel) for kernel in weights)
        density = kept / sum(kernel.size for kernel in weights)
        if self.op == "chain":
            return chain_model(weights, self.rows), density
        if self.op == "conv":
            made = conv2d_model(weights[0], self.rows, self.rows, layers=self.layers)
        else:
            made = fully_connected_model(weights[0], self.rows, layers=self.layers)
        return made.content, density


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        shape: the layer.
        pattern: as `sparse_weights` takes it.
        sparsity: share of zeros, nominal.
        isa: instruction set our kernels are forced to.
    """

    shape: Shape
    pattern: str
    sparsity: float
    isa: str = "avx512vnni"

    @property
    def key(self) -> dict[str, str | float]:
        """What tells a row from every other."""
        return {
            "group": self.shape.group,
            "op": self.shape.op,
            "shape": self.shape.text,
            "pattern": self.pattern,
            "sparsity": self.sparsity,
            "isa": self.isa,
        }


def all_cases() -> Iterator[Case]:
    """Yields the full grid: what the targets need first."""
    for shape in shapes():
        for pattern, sparsity in _patterns(shape):
            yield Case(shape, pattern, sparsity)
    for isa in ISAS[1:]:
        # 256-bit shuffles reach 16 bytes: their fine patterns are within 8 or 16.
        half = "8:16" if isa == "avxvnni" else "4:8"
        for shape in shapes():
            if shape.group in ("fc", "conv 3x3"):
                for pattern, sparsity in [
                    ("dense", 0.0),
                    *(("4x4", sparsity) for sparsity in BLOCK_SPARSITIES),
                    *((fine, _zeros(fine)) for fine in (half, "2:8", "4:16")),
                ]:
                    yield Case(shape, pattern, sparsity, isa)


def quick_cases() -> Iterator[Case]:
    """Yields a part of the full grid that takes about a minute."""
    chosen = {
        "fc": "128x768x768",
        "fc batch 1": "1x1024x4096",
        "conv 3x3": "14x14x256->256 3x3",
        "conv 1x1": "14x14x1024->256 1x1",
        "chain": "197x768-3072-768-3072-768",
    }
    wanted = {
        "fc batch 1": {("2:4", 0.5), ("1:4", 0.75), ("16x4", 0.8)},
        "conv 1x1": {("4x4", 0.5), ("4x4", 0.8)},
        "chain": {("4x4", 0.5), ("4x4", 0.75)},
    }
    usual = {("dense", 0.0), ("4:16", 0.75), ("8:64", 0.875), ("unstructured", 0.9)}
    usual |= {("4x4", sparsity) for sparsity in BLOCK_SPARSITIES}
    for case in all_cases():
        group = case.shape.group
        if chosen.get(group) != case.shape.text:
            continue
        if (case.pattern, case.sparsity) not in wanted.get(group, usual):
            continue
        if case.isa == ISAS[0] or (group == "fc" and case.sparsity == 0.75):
            yield case


def shapes() -> list[Shape]:
    """Returns every shape of the full grid."""
    found = [
        Shape(group, "fc", *sizes, layers=_layers(sizes[0] * math.prod(sizes[1])))
        for group, sizes in [
            ("fc", (128, (768, 768))),
            ("fc", (64, (768, 3072))),
            ("fc", (197, (768, 768))),
            ("fc other", (64, (256, 256))),
            ("fc other", (128, (3072, 768))),
        ]
    ]
    found += [
        Shape("conv 3x3", "conv", side, (width, width), 3)
        for side, width in [(56, 64), (28, 128), (14, 256), (7, 512)]
    ]
    found.append(Shape("fc batch 1", "fc", 1, (1024, 4096), layers=_beyond_cache()))
    found += [
        Shape("chain" if m == 197 else "chain other", "chain", m, widths)
        for m, widths in [
            (197, (768, 3072, 768, 3072, 768)),
            (128, (384, 1536, 384, 1536, 384)),
            (64, (256, 1024, 256, 1024, 256)),
        ]
    ]
    found += [  # the 1x1 convolutions of ResNet-50's bottlenecks
        Shape(
            "conv 1x1",
            "conv",
            side,
            channels,
            layers=_layers(side**2 * math.prod(channels)),
        )
        for side, narrow in [(56, 64), (28, 128), (14, 256), (7, 512)]
        for channels in [(4 * narrow, narrow), (narrow, 4 * narrow)]
    ]
    return found


def _patterns(shape: Shape) -> list[tuple[str, float]]:
    blocks = [(block, s) for block in BLOCKS for s in BLOCK_SPARSITIES]
    if shape.op == "chain":
        return [("dense", 0.0), *blocks[: len(BLOCK_SPARSITIES)]]
    return [
        ("dense", 0.0),
        *blocks,
        *((pattern, _zeros(pattern)) for pattern in BALANCED),
        *(("unstructured", sparsity) for sparsity in UNSTRUCTURED_SPARSITIES),
    ]


def _zeros(balanced: str) -> float:
    kept, of = map(int, balanced.split(":"))
    return 1 - kept / of


def _layers(macs: int) -> int:
    return min(_MOST_LAYERS, -(-_LEAST_MACS // macs))


def _beyond_cache() -> int:
    """Returns how many 1024x4096 layers even at 80% zeros outgrow the caches.

    At most 64: a server's share of a huge cache would ask for gigabytes.
    """
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    sizes = [_kibibytes(path.read_text()) for path in folder.glob("index*/size")]
    layer = 1024 * 4096 * 0.2 / 1024
    return min(64, max(24, math.ceil(1.2 * max(sizes, default=32768) / layer)))


def _kibibytes(text: str) -> int:
    number, unit = text.strip()[:-1], text.strip()[-1:]
    return int(number) * {"K": 1, "M": 1024}.get(unit, 0) if number.isdigit() else 0


def _joined(numbers: tuple[int, ...], separator: str) -> str:
    return separator.join(map(str, numbers))
