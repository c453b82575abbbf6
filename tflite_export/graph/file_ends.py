"""Inputs and outputs of a file in the model's order, under its names.

The converter sorts outputs in an order of its own, and names a tensor after all nodes
that became part of it; who runs a file by position or name expects the model's.
"""

import numpy as np

from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.graph.graph import Graph


def name_ends(file: ModelFile, graph: Graph) -> dict[str, str]:
    """Sorts and renames the inputs and outputs of a converted file.

    Args:
        file: the file; edited in place.
        graph: the graph it was converted from.

    Returns:
        Old name -> new name of the tensors that have another one now.
    """
    subgraph, signature = file.model.subgraphs[0], file.model.signatureDefs[0]
    inputs, outputs = file.signature()
    # Of a tensor's names the first stays; one that goes in and comes out keeps the
    # name it goes in by.
    wanted = {outputs[name]: name for name in reversed(graph.outputs)}
    wanted |= {inputs[name]: name for name in graph.inputs}
    renamed = {}
    for tensor in file.tensors:
        name = wanted.get(tensor.index, tensor.name)
        if tensor.index not in wanted and name in wanted.values():
            name = f"{name};inner"
        if name != tensor.name:
            renamed[tensor.name] = name
        tensor.name = name
        subgraph.tensors[tensor.index].name = name.encode()
    subgraph.inputs = _sorted(subgraph.inputs, [inputs[name] for name in graph.inputs])
    subgraph.outputs = _sorted(
        subgraph.outputs, [outputs[name] for name in graph.outputs]
    )
    signature.inputs = _entries(signature.inputs, graph.inputs)
    signature.outputs = _entries(signature.outputs, graph.outputs)
    return renamed


def _sorted(old: np.ndarray, wanted: list[int]) -> np.ndarray:
    """Returns the tensors in the wanted order, each as often as before."""
    order = {index: position for position, index in reversed([*enumerate(wanted)])}
    return np.array(sorted(old, key=lambda i: order.get(int(i), len(order))), np.int32)


def _entries(old: list, names: dict[str, str]) -> list:
    position = {name: i for i, name in enumerate(names)}
    return sorted(old, key=lambda entry: position[entry.name.decode()])
