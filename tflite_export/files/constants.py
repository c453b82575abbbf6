"""Where the constants of a .tflite file lie in its bytes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_WIDTHS = {
    schema.TensorType.FLOAT32: 4,
    schema.TensorType.FLOAT16: 2,
    schema.TensorType.FLOAT64: 8,
    schema.TensorType.INT16: 2,
    schema.TensorType.INT32: 4,
    schema.TensorType.INT64: 8,
}


@dataclass(frozen=True)
class Constant:
    """The contents of one tensor.

    Attributes:
        offset: position of its first byte in the file.
        rows: first dimension of its shape; 1 if that does not fit its size.
        columns: elements of a row.
        width: bytes of an element; 1 where elements are not whole bytes.
    """

    offset: int
    rows: int
    columns: int
    width: int

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.rows * self.columns * self.width


def find_constants(contents: bytes, name: str) -> list[Constant]:
    """Returns the constants of all subgraphs, ascending; no two of them overlap.

    Args:
        contents: a .tflite file.
        name: the file, for the message.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        found = _read(contents)
    except Exception as error:  # any offset may point anywhere
        raise ValueError(
            f"{name} is damaged or truncated ({len(contents)} bytes): {error}. Export "
            "or download it again."
        ) from error
    apart: list[Constant] = []
    for constant in sorted(found.values(), key=lambda item: item.offset):
        if not apart or apart[-1].offset + apart[-1].size <= constant.offset:
            apart.append(constant)
    return apart


def _read(contents: bytes) -> dict[int, Constant]:
    """Returns offset -> constant; tensors may share a buffer."""
    model = schema.Model.GetRootAs(contents, 0)
    start = _address(np.frombuffer(contents, np.uint8))
    found: dict[int, Constant] = {}
    for index in range(model.SubgraphsLength()):
        graph = model.Subgraphs(index)
        for number in range(graph.TensorsLength()):
            tensor = graph.Tensors(number)
            buffer = model.Buffers(tensor.Buffer())
            if buffer.DataLength():
                data = buffer.DataAsNumpy()
                offset = _address(data) - start
                found.setdefault(offset, _shaped(tensor, offset, data.size))
    return found


def _address(values: np.ndarray) -> int:
    return np.lib.array_utils.byte_bounds(values)[0]


def _shaped(tensor: Any, offset: int, size: int) -> Constant:
    width = _WIDTHS.get(tensor.Type(), 1)
    if size % width:
        width = 1
    rows = int(tensor.Shape(0)) if tensor.ShapeLength() else 1
    if rows < 1 or size % (rows * width):
        rows = 1
    return Constant(offset, rows, size // (rows * width), width)
