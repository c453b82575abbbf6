"""Cuts ops out of a file, as a file of their own."""

import copy
from collections.abc import Sequence

from ai_edge_litert import schema_py_generated as schema

from qsparse.tflite_export.files.model_file import ModelFile, pack
from qsparse.tflite_export.files.model_parts import Op


def cut_out(file: ModelFile, ops: Sequence[Op]) -> bytes:
    """Returns a .tflite file that holds just `ops` and their constants.

    Its inputs are the activations that `ops` read and do not make, its outputs those
    they make and do not read, or that something outside reads; shapes, scales and
    fused activations are those of `file`.

    Args:
        file: the file the ops are from.
        ops: some of `file.ops`, in their order; at least one.
    """
    source = file.model.subgraphs[0]
    chosen = {op.index for op in ops}
    made = {tensor.index for op in ops for tensor in op.outputs}
    read = {t.index for op in ops for t in op.inputs if t is not None}
    read_elsewhere = {tensor.index for tensor in file.outputs} | {
        tensor.index
        for op in file.ops
        if op.index not in chosen
        for tensor in op.inputs
        if tensor is not None
    }
    buffers = [schema.BufferT()]  # the first one is empty by convention
    tensors: list[schema.TensorT] = []
    place = {-1: -1}
    for index in sorted(read | made):
        entry = copy.copy(source.tensors[index])
        buffer = file.model.buffers[entry.buffer]
        entry.buffer = 0
        if buffer.data is not None and len(buffer.data):
            entry.buffer = len(buffers)
            buffers.append(buffer)
        place[index] = len(tensors)
        tensors.append(entry)
    codes: dict[int, int] = {}
    operators = []
    for op in ops:
        operator = copy.copy(source.operators[op.index])
        operator.inputs = [place[-1 if t is None else t.index] for t in op.inputs]
        operator.outputs = [place[tensor.index] for tensor in op.outputs]
        operator.opcodeIndex = codes.setdefault(operator.opcodeIndex, len(codes))
        operators.append(operator)
    graph = schema.SubGraphT()
    graph.tensors = tensors
    graph.operators = operators
    constant = {place[i] for i in read if file.tensors[i].data is not None}
    graph.inputs = sorted({place[i] for i in read - made} - constant)
    graph.outputs = sorted(place[i] for i in made if i not in read - read_elsewhere)
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes = [file.model.operatorCodes[code] for code in codes]
    model.subgraphs = [graph]
    model.buffers = buffers
    return pack(model)
