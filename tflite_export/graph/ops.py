"""The one table of what an op of the graph is.

A row says all that passes ask about an op; an op without a row stays in float and
nothing is moved or folded across it. To teach the export an op, give it a row.
"""

from collections.abc import Iterable, Iterator, Set
from enum import Flag, auto
from typing import Any, NamedTuple


class Trait(Flag):
    """What can be said of an op."""

    INT8 = auto()  # LiteRT computes it in int8, so operands and result need ranges
    WEIGHTED = auto()  # its second input holds the weights
    MATRIX = auto()  # a matrix product that may have weights
    PRODUCT = auto()  # may multiply two activations
    SUM = auto()
    AFFINE = auto()  # with one constant operand: x + b, x - b, x * a, x / a
    SCALING = auto()  # x * a, x / a
    ACTIVATION = auto()  # fuses into what is before it
    HOMOGENEOUS = auto()  # f(a * x) = a * f(x) for a > 0, or cut at a constant
    POOL = auto()
    INT8_ONLY = auto()  # the converter refuses it in int16
    # Outputs keep the scale of the input; LiteRT has no requantization in them. A range
    # found behind one of them is exact in front of it too.
    SAME_SCALE = auto()
    MOVE = auto()  # only moves values about
    RESHAPE = auto()  # only names axes anew
    JOIN = auto()
    SELECT = auto()  # between two tensors
    ONE_SCALE = auto()  # integers are copied from one operand or another
    # Computed in the scale of the input, though the result spans less. Unlike behind a
    # maximum, a range behind them says nothing about the input, which is wider: such a
    # range has no place in the file.
    AVERAGE = auto()
    FLOAT_ONLY = auto()  # the converter would give its operands the scale of the result
    LIKE_INPUT = auto()  # spans about what its input spans
    LOOKUP = auto()  # rows of a table
    GATE = auto()  # stands inside an activation such as GELU or hard-swish
    ARITHMETIC = auto()
    STATISTIC = auto()  # stands inside a normalization
    LOOP = auto()  # has graphs of its own
    NO_OP = auto()  # computes nothing when a model predicts


class Op(NamedTuple):
    """A row of the table.

    Attributes:
        traits: what holds for the op.
        fixed: output range (low, high) that is built into the LiteRT kernel, or None.
    """

    traits: Trait
    fixed: tuple[float, float] | None = None


_T = Trait
_ARITHMETIC = Trait.INT8 | Trait.AFFINE | Trait.ARITHMETIC | Trait.STATISTIC
_KEEPS = Trait.INT8 | Trait.SAME_SCALE
_RESHAPES = _KEEPS | Trait.MOVE | Trait.RESHAPE
_ACTIVATION = Trait.INT8 | Trait.ACTIVATION | Trait.HOMOGENEOUS

OPS: dict[str, Op] = {
    "Conv2D": Op(_T.INT8 | _T.WEIGHTED),
    "DepthwiseConv2dNative": Op(_T.INT8 | _T.WEIGHTED),
    "Conv2DBackpropInput": Op(_T.INT8 | _T.WEIGHTED),
    "Conv3D": Op(_T.INT8),
    "MatMul": Op(_T.INT8 | _T.WEIGHTED | _T.MATRIX),
    "BatchMatMul": Op(_T.INT8 | _T.PRODUCT),
    "BatchMatMulV2": Op(_T.INT8 | _T.WEIGHTED | _T.MATRIX | _T.PRODUCT),
    "BatchMatMulV3": Op(_T.PRODUCT),
    "Einsum": Op(_T.INT8 | _T.PRODUCT),
    "Add": Op(_ARITHMETIC | _T.SUM),
    "AddV2": Op(_ARITHMETIC | _T.SUM),
    "BiasAdd": Op(_T.INT8 | _T.AFFINE),
    "Sub": Op(_ARITHMETIC),
    "Mul": Op(_ARITHMETIC | _T.SCALING),
    "RealDiv": Op(_T.AFFINE | _T.SCALING | _T.ARITHMETIC | _T.STATISTIC),
    "Neg": Op(_T.ARITHMETIC | _T.STATISTIC),
    "Pow": Op(_T.ARITHMETIC | _T.STATISTIC),
    "Square": Op(_T.ARITHMETIC | _T.STATISTIC),
    "SquaredDifference": Op(_T.STATISTIC),
    "Maximum": Op(_T.INT8 | _T.ONE_SCALE | _T.STATISTIC),
    "Minimum": Op(_T.INT8 | _T.ONE_SCALE),
    "Select": Op(_T.SELECT | _T.ONE_SCALE),
    "SelectV2": Op(_T.SELECT | _T.ONE_SCALE),
    "Relu": Op(_ACTIVATION),
    "Relu6": Op(_ACTIVATION | _T.GATE),
    "LeakyRelu": Op(_T.INT8 | _T.HOMOGENEOUS | _T.LIKE_INPUT),
    "Elu": Op(_T.INT8),
    "HardSwish": Op(_T.INT8 | _T.INT8_ONLY),
    "Erf": Op(_T.GATE),
    "Erfc": Op(_T.GATE),
    "Softmax": Op(_T.INT8 | _T.INT8_ONLY, fixed=(0.0, 255 / 256)),
    "LogSoftmax": Op(_T.INT8 | _T.INT8_ONLY, fixed=(-255 / 16, 0.0)),
    "Sigmoid": Op(_T.INT8 | _T.INT8_ONLY, fixed=(0.0, 255 / 256)),
    "Tanh": Op(_T.INT8 | _T.GATE | _T.INT8_ONLY, fixed=(-1.0, 127 / 128)),
    "Mean": Op(_T.INT8 | _T.LIKE_INPUT),
    "Sum": Op(_T.INT8),
    "AvgPool": Op(_T.INT8 | _T.AVERAGE | _T.POOL),
    "MaxPool": Op(_KEEPS | _T.POOL),
    "ResizeBilinear": Op(_T.INT8 | _T.AVERAGE),
    "ResizeNearestNeighbor": Op(_KEEPS),
    "Reshape": Op(_RESHAPES),
    "Squeeze": Op(_RESHAPES),
    "ExpandDims": Op(_RESHAPES),
    "Transpose": Op(_KEEPS | _T.MOVE),
    "Pad": Op(_KEEPS),
    "PadV2": Op(_KEEPS | _T.INT8_ONLY),
    "MirrorPad": Op(_KEEPS),
    "Slice": Op(_KEEPS),
    "StridedSlice": Op(_KEEPS),
    "Split": Op(_KEEPS),
    "SplitV": Op(_KEEPS),
    "Unpack": Op(_KEEPS),
    "Tile": Op(_KEEPS | _T.INT8_ONLY),
    "SpaceToBatchND": Op(_KEEPS),
    "BatchToSpaceND": Op(_KEEPS),
    "DepthToSpace": Op(_KEEPS | _T.INT8_ONLY),
    "SpaceToDepth": Op(_KEEPS | _T.INT8_ONLY),
    "Gather": Op(_KEEPS | _T.LOOKUP),
    "GatherV2": Op(_KEEPS | _T.LOOKUP),
    "OneHot": Op(_T.FLOAT_ONLY),
    "ConcatV2": Op(_T.INT8 | _T.JOIN | _T.INT8_ONLY),
    "Pack": Op(_T.INT8 | _T.JOIN),
    "While": Op(_T.LOOP),
    "StatelessWhile": Op(_T.LOOP),
    "If": Op(_T.LOOP),
    "StatelessIf": Op(_T.LOOP),
    "Case": Op(_T.LOOP),
    "StatelessCase": Op(_T.LOOP),
    "Identity": Op(_T.NO_OP),
    "StopGradient": Op(_T.NO_OP),
    "PreventGradient": Op(_T.NO_OP),
    "CheckNumerics": Op(_T.NO_OP),
    "Snapshot": Op(_T.NO_OP),
}


class OpSet(Set[str]):
    """The ops with any of some traits, as the table has them now.

    Args:
        traits: what they have in common.
        names: ops that belong to it besides.
    """

    def __init__(self, traits: Trait, names: Iterable[str] = ()) -> None:
        self._traits = traits
        self._names = frozenset(names)

    def __contains__(self, op: object) -> bool:
        row = OPS.get(op) if isinstance(op, str) else None
        return op in self._names or (
            row is not None and bool(row.traits & self._traits)
        )

    def __iter__(self) -> Iterator[str]:
        return iter({*self._names, *(op for op in OPS if op in self)})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __or__(self, other: Set[Any]) -> "OpSet":
        if isinstance(other, OpSet):
            return OpSet(self._traits | other._traits, self._names | other._names)
        return OpSet(self._traits, self._names | frozenset(other))


WEIGHTED = OpSet(Trait.WEIGHTED)
MATRICES = OpSet(Trait.MATRIX)
PRODUCTS = OpSet(Trait.PRODUCT)
INT8_OPS = OpSet(Trait.INT8)
SUMS = OpSet(Trait.SUM)
AFFINE = OpSet(Trait.AFFINE)
SCALINGS = OpSet(Trait.SCALING)
ACTIVATIONS = OpSet(Trait.ACTIVATION)
HOMOGENEOUS = OpSet(Trait.HOMOGENEOUS)
POOLS = OpSet(Trait.POOL)
SAME_SCALE = OpSet(Trait.SAME_SCALE)
MOVES = OpSet(Trait.MOVE)
RESHAPES = OpSet(Trait.RESHAPE)
JOINS = OpSet(Trait.JOIN)
SELECTS = OpSet(Trait.SELECT)
ONE_SCALE = OpSet(Trait.ONE_SCALE)
AVERAGES = OpSet(Trait.AVERAGE)
WITHOUT_RANGE = OpSet(Trait.AVERAGE | Trait.FLOAT_ONLY)
LIKE_INPUT = OpSet(Trait.LIKE_INPUT)
LOOKUPS = OpSet(Trait.LOOKUP)
GATES = OpSet(Trait.GATE)
GATE_PARTS = OpSet(Trait.GATE | Trait.ARITHMETIC, {"Relu"})
STATISTICS = OpSet(Trait.STATISTIC)
INT8_ONLY = OpSet(Trait.INT8_ONLY)
LOOPS = OpSet(Trait.LOOP)
NO_OPS = OpSet(Trait.NO_OP)


def fixed_range(op: str) -> tuple[float, float] | None:
    """Returns the output range that is built into the LiteRT kernel of an op."""
    row = OPS.get(op)
    return None if row is None else row.fixed
