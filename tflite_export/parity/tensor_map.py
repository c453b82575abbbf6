"""Which tensor of a file holds which quantized tensor of the graph it was made of.

The converter names a tensor after the nodes it fused, in no fixed order, and numbers
what it splits; several copies (a reshape, a transpose) may carry the same node's name.
A name alone does not tell, but with the scale, the zero point and the size it does,
and these are known while a file is made. Written into the file, the pairs let anyone
compare it with the model tensor by tensor later, when ranges can no longer be measured.
"""

import numpy as np

from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.model_parts import Tensor
from qsparse.tflite_export.graph.graph import Graph, node_name
from qsparse.tflite_export.graph.ranges import Range

_SCALE_TOLERANCE = 1e-5  # relative; the converter divides in double precision


def map_tensors(
    file: ModelFile, graph: Graph, ranges: dict[str, Range]
) -> list[list[str | None]]:
    """Pairs every tensor that has a range with a tensor of the file.

    Args:
        file: the converted file.
        graph: the fake-quantized graph it was converted from.
        ranges: tensor of the graph -> its range.

    Returns:
        `[tensor of the graph, name of an integer tensor of the file]` in topological
        order; None where the file computes the tensor in another type or not at all.
    """
    return [
        [tensor, _find(file, graph, tensor, entry)]
        for tensor, entry in in_order(graph, ranges).items()
    ]


def in_order(graph: Graph, ranges: dict[str, Range]) -> dict[str, Range]:
    """Returns the ranges in the topological order of the graph."""
    position = {name: index for index, name in enumerate(graph.nodes)}
    return dict(sorted(ranges.items(), key=lambda item: position[node_name(item[0])]))


def _find(file: ModelFile, graph: Graph, tensor: str, entry: Range) -> str | None:
    size = int(np.prod(graph.shapes[tensor]))
    # The converter leaves tensors behind that nothing computes any more.
    computed = {t.index for op in file.ops for t in op.outputs}
    computed |= {t.index for t in file.inputs}
    fitting = [t for t in file.tensors if t.index in computed and _fits(t, size, entry)]
    if not fitting:
        return None
    named = [t for t in fitting if _is_named_after(t, tensor)]
    source = _input_name(file, graph, tensor)
    named = [t for t in fitting if t.name == source] or named
    if not named and len(fitting) > 1:
        return None
    shape = plain(graph.shapes[tensor])
    return min(named or fitting, key=lambda t: (plain(t.shape) != shape, t.index)).name


def _fits(tensor: Tensor, size: int, entry: Range) -> bool:
    computed = tensor.dtype == entry.grid.dtype and tensor.data is None
    if not computed or tensor.scales.size != 1:
        return False
    scale = entry.step
    zero = entry.grid.least - entry.low / scale
    return (
        int(np.prod(tensor.shape)) == size
        and bool(abs(tensor.scales[0] / scale - 1) < _SCALE_TOLERANCE)
        and bool(abs(tensor.zero_points[0] - zero) <= 1)
    )


def _is_named_after(tensor: Tensor, wanted: str) -> bool:
    """Whether a fused name has a part that is the node, as it is or numbered."""
    node = node_name(wanted)
    for part in tensor.name.split(";"):
        part = part.removeprefix("frozen/")
        rest = part.removeprefix(node)
        if rest != part and rest.removeprefix("/fake_quant").strip("0123456789") == "":
            return True
    return False


def _input_name(file: ModelFile, graph: Graph, tensor: str) -> str | None:
    """Returns the integer tensor of the file that holds an input of the model."""
    inputs, _ = file.signature()
    for name, node in graph.inputs.items():
        if node == tensor and name in inputs:
            found = file.tensors[inputs[name]]
            for op in file.ops:
                if op.name == "QUANTIZE" and op.inputs[0] is found:
                    return op.outputs[0].name
            return found.name
    return None


def plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns a shape without its axes of size one."""
    return tuple(size for size in shape if size != 1)
