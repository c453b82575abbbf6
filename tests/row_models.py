"""Write .tflite files of float arithmetic on rows, of choices and of lookups."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.kernels.graph_fuzz.writer import FLOAT32, Writer

BINARY = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul"}
BINARY["SQUARED_DIFFERENCE"] = "SquaredDifference"


class RowFile(Writer):
    """A Writer whose shapes follow from the operands."""

    def floats(self, shape):
        return self.tensor(shape, None, kind=FLOAT32)

    def row(self, values):
        """A float constant; a number is a scalar."""
        values = np.asarray(values, np.float32)
        return self.tensor(values.shape, None, kind=FLOAT32, data=values)

    def binary(self, name, x, y, kind=FLOAT32, **values):
        shape = np.broadcast_shapes(self.shape(x), self.shape(y))
        scale = None if kind == FLOAT32 else 0.1
        output = self.tensor(shape, scale, 3, kind=kind)
        return self.operator(name, [x, y], output, f"{BINARY[name]}Options", **values)

    def add(self, x, y):
        return self.binary("ADD", x, y)

    def subtract(self, x, y):
        return self.binary("SUB", x, y)

    def multiply(self, x, y):
        return self.binary("MUL", x, y)

    def squared_difference(self, x, y):
        return self.binary("SQUARED_DIFFERENCE", x, y)

    def negate(self, x):
        return self.operator("NEG", [x], self.floats(self.shape(x)), "NegOptions")

    def reciprocal_root(self, x):
        return self.operator("RSQRT", [x], self.floats(self.shape(x)))

    def dequantize(self, x):
        output = self.floats(self.shape(x))
        return self.operator("DEQUANTIZE", [x], output, "DequantizeOptions")

    def quantize(self, x, scale=0.03, zero_point=3):
        output = self.tensor(self.shape(x), scale, zero_point)
        return self.operator("QUANTIZE", [x], output, "QuantizeOptions")

    def total(self, x, axis=-1, keep_dims=True):
        shape = list(self.shape(x))
        shape[axis : axis + 1 or None] = [1] * keep_dims
        axes = self.constant([axis])
        output = self.floats(shape)
        return self.operator(
            "SUM", [x, axes], output, "ReducerOptions", keepDims=keep_dims
        )

    def mean(self, x):
        return self.multiply(self.total(x), self.row(1 / self.shape(x)[-1]))

    def layer_norm(self, x, gamma, beta=None):
        """As the converter writes it; without `beta` a centred one."""
        mean = self.mean(x)
        negative = self.negate(mean)
        variance = self.mean(self.squared_difference(x, mean))
        root = self.reciprocal_root(self.add(variance, self.row(1e-6)))
        scale = self.multiply(root, self.row(gamma))
        centre = self.multiply(negative, scale)
        if beta is not None:
            centre = self.add(centre, self.row(beta))
        return self.add(self.multiply(x, scale), centre)

    def rms_norm(self, x, gamma):
        mean = self.mean(self.multiply(x, x))
        root = self.reciprocal_root(self.add(mean, self.row(1e-5)))
        return self.multiply(self.multiply(x, root), self.row(gamma))

    def mask(self, shape):
        return self.tensor(shape, None, kind=schema.TensorType.BOOL)

    def select(self, mask, x, otherwise=-77, otherwise_shape=()):
        """`x` where the mask is true, else a constant."""
        alike = self.scale(x), self.zero_point(x)
        shapes = self.shape(mask), self.shape(x), otherwise_shape
        data = np.full(otherwise_shape, otherwise, np.int8)
        constant = self.tensor(otherwise_shape, *alike, data=data)
        output = self.tensor(np.broadcast_shapes(*shapes), *alike)
        return self.operator(
            "SELECT_V2", [mask, x, constant], output, "SelectV2Options"
        )

    def gelu(self, x, scale=0.03, zero_point=-100, approximate=False):
        output = self.tensor(self.shape(x), scale, zero_point)
        return self.operator(
            "GELU", [x], output, "GeluOptions", approximate=approximate
        )
