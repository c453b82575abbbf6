"""What a .tflite file is made of: tensors, ops and subgraphs, as plain data."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np

from qsparse.tflite_export.files.macs import HYBRID, Uses, count_macs, weight_uses
from qsparse.tflite_export.files.precision import A16W8, FLOAT, INT8

INT4 = np.dtype(ml_dtypes.int4)
# Ops whose constant weights, their second input, are pruned and restored -> axis of
# the output channels.
CHANNEL_AXIS = {"FULLY_CONNECTED": 0, "CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}
# Ops our delegate has kernels for, if their weights are constant.
CLAIMABLE = ("FULLY_CONNECTED", "CONV_2D")
# Their first input is the shape of their output.
_SHAPE_FIRST = ("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE")


@dataclass
class Tensor:
    """One tensor of a file.

    Attributes:
        index: its index in its subgraph.
        name: its name; bytes that are not UTF-8 are escaped.
        shape: its static shape.
        dtype: numpy dtype; `object` for types numpy lacks.
        scales: quantization scales, one or one per channel; empty if float.
        zero_points: as many as `scales`.
        data: the constant contents as a writable array, int4 as a copy; None if not
            constant.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    scales: np.ndarray
    zero_points: np.ndarray
    data: Any

    @property
    def size(self) -> int:
        """Number of its elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Body:
    """A subgraph that an op runs.

    Attributes:
        graph: the subgraph.
        times: how often one invocation of the op runs it.
        counted: False if `times` is a guess: one, of a loop whose end depends on data,
            or of the costlier branch of an IF.
    """

    graph: "Subgraph"
    times: int
    counted: bool


@dataclass(frozen=True)
class Op:
    """One op of a file.

    Attributes:
        index: its index in its subgraph, which in the main one is also its node number
            for a delegate.
        name: e.g. "CONV_2D"; custom ops are called "CUSTOM" and their own name.
        inputs: tensors; None for an optional input that is absent.
        outputs: tensors; a few ops have none.
        options: the builtin options of the schema, or None.
        bodies: the subgraphs it runs, for WHILE, IF and the like.
    """

    index: int
    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Any
    bodies: tuple[Body, ...] = ()

    @property
    def weights(self) -> Tensor | None:
        """The constant weights of a convolution or fully connected op, or None."""
        if self.name not in CHANNEL_AXIS or len(self.inputs) < 2:
            return None
        tensor = self.inputs[1]
        return tensor if tensor is not None and tensor.data is not None else None

    @property
    def is_int8(self) -> bool:
        """Whether activations and (if it has them) weights are int8."""
        return all(t.dtype == np.int8 for t in self._operands)

    @property
    def is_a16w8(self) -> bool:
        """Whether activations are int16 and (if it has them) weights int8."""
        return any(t.dtype == np.int16 for t in self._operands) and all(
            t.dtype == np.int16 or (t.dtype == np.int8 and t.data is not None)
            for t in self._operands
        )

    @property
    def is_integer(self) -> bool:
        """Whether it computes in integers: int8, or a16w8."""
        return self.is_int8 or self.is_a16w8

    @property
    def format(self) -> str:
        """What it computes in: "int8", "a16w8" or "float"."""
        if self.is_a16w8:
            return A16W8
        return INT8 if self.is_int8 else FLOAT

    @property
    def _operands(self) -> list[Tensor]:
        """What it multiplies or adds, and the result."""
        first = 1 if self.name in _SHAPE_FIRST else 0
        operands = [*self.inputs[first : first + 2], *self.outputs[:1]]
        return [tensor for tensor in operands if tensor is not None]

    @property
    def has_integer_weights(self) -> bool:
        """Whether it multiplies by constant int8 or int4 weights.

        LiteRT then rounds float activations as they come, and multiplies integers.
        """
        weights = [w for w, _ in self.products if w.data is not None]
        return (
            self.name in HYBRID
            and bool(weights)
            and all(w.dtype in (np.int8, INT4) for w in weights)
        )

    @property
    def products(self) -> Uses:
        """Its weights, and how many products one invocation makes with each element."""
        return weight_uses(self.name, self.inputs, self.outputs)

    @property
    def own_macs(self) -> int | None:
        """Multiply-accumulates without its bodies; None if the file does not tell."""
        return count_macs(self.name, self.inputs, self.outputs, self.options)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one invocation, those of its bodies included."""
        return (self.own_macs or 0) + sum(b.times * b.graph.macs for b in self.bodies)

    @property
    def int8_macs(self) -> int:
        """Those of `macs` that multiply integers: int8, fewer bits, or a16w8."""
        integers = self.is_integer or self.has_integer_weights
        own = (self.own_macs or 0) if integers else 0
        return own + sum(b.times * b.graph.int8_macs for b in self.bodies)


@dataclass(frozen=True)
class Subgraph:
    """One function of a file: its ops in their order, and what they read and make."""

    name: str
    tensors: list[Tensor]
    ops: list[Op]
    inputs: list[Tensor]
    outputs: list[Tensor]

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return sum(op.macs for op in self.ops)

    @cached_property
    def int8_macs(self) -> int:
        """Those that multiply integers; ask the ops of a graph that was edited."""
        return sum(op.int8_macs for op in self.ops)


@dataclass(frozen=True)
class Executed:
    """An op as one invocation of a file runs it.

    Attributes:
        op: the op.
        times: how often it runs.
        counted: False if `times` is a guess, see `Body`.
        loop: name of the subgraph it is in; None in the main one.
    """

    op: Op
    times: int
    counted: bool
    loop: str | None


def executed(graph: Subgraph) -> Iterator[Executed]:
    """Yields the ops that a run executes, those of bodies behind the op they are of."""

    def walk(
        graph: Subgraph, times: int, counted: bool, loop: str | None
    ) -> Iterator[Executed]:
        for op in graph.ops:
            yield Executed(op, times, counted, loop)
            for body in op.bodies:
                yield from walk(
                    body.graph,
                    times * body.times,
                    counted and body.counted,
                    body.graph.name,
                )

    return walk(graph, 1, True, None)
