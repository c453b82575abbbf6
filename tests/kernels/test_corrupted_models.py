"""Files nobody vouches for: whatever the runtime survives, so does the delegate."""

import os
import pathlib
import subprocess
import sys

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from benchmarks import one_op_models
from benchmarks.sparse_weights import sparse_weights


def conv():
    weights = sparse_weights((16, 3, 3, 16), "4x4", 0.5)
    return one_op_models.conv2d_model(weights, 8, 8)


def fully_connected():
    weights = sparse_weights((16, 32), "4x4", 0.5)
    return one_op_models.fully_connected_model(weights, 8)


def changed(model, change):
    """The file with `change(graph, tensors, options, buffers)` applied."""
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model.content, 0))
    graph = tree.subgraphs[0]
    tensors = dict(zip("xwby", graph.tensors, strict=True))
    change(graph, tensors, graph.operators[0].builtinOptions, tree.buffers)
    builder = flatbuffers.Builder(4096)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def set_scale(name, values):
    def change(graph, tensors, options, buffers):
        tensors[name].quantization.scale = np.asarray(values, np.float32)

    return change


def set_zero_points(name, values):
    def change(graph, tensors, options, buffers):
        tensors[name].quantization.zeroPoint = np.asarray(values, np.int64)

    return change


def set_shape(name, shape):
    def change(graph, tensors, options, buffers):
        tensors[name].shape = list(shape)

    return change


def set_data(name, data):
    def change(graph, tensors, options, buffers):
        buffers[tensors[name].buffer].data = np.frombuffer(data, np.uint8)

    return change


def set_type(name, kind):
    def change(graph, tensors, options, buffers):
        tensors[name].type = kind

    return change


def set_inputs(indices):
    def change(graph, tensors, options, buffers):
        graph.operators[0].inputs = list(indices)

    return change


def set_axis(graph, tensors, options, buffers):
    tensors["w"].quantization.quantizedDimension = 3


def drop_quantization(graph, tensors, options, buffers):
    tensors["w"].quantization = None


def drop_options(graph, tensors, options, buffers):
    graph.operators[0].builtinOptions = None
    graph.operators[0].builtinOptionsType = 0


def set_options(**values):
    def change(graph, tensors, options, buffers):
        for name, value in values.items():
            if hasattr(options, name):
                setattr(options, name, value)

    return change


CHANGES = {
    "bias too short": [set_shape("b", [4]), set_data("b", bytes(16))],
    "bias data too short": [set_data("b", bytes(8))],
    "bias empty": [set_data("b", b"")],
    "bias int8": [set_type("b", schema.TensorType.INT8)],
    "bias huge": [set_data("b", b"\xff\xff\xff\x7f" * 16)],
    "weights data too short": [set_data("w", bytes(16))],
    "weights float": [set_type("w", schema.TensorType.FLOAT32)],
    "weights wider": [set_shape("w", [64, 3, 3, 16])],
    "weights rank 1": [set_shape("w", [512])],
    "weights rank 0": [set_shape("w", [])],
    "weights negative": [set_shape("w", [-16, 3, 3, 16])],
    "weights huge": [set_shape("w", [65536, 65536, 65536, 65536])],
    "input huge": [set_shape("x", [1, 65536, 65536, 16])],
    "input zero": [set_shape("x", [0, 8, 8, 16])],
    "input rank 1": [set_shape("x", [16])],
    "output wrong": [set_shape("y", [1, 2, 2, 2])],
    "scales too few": [set_scale("w", [0.1, 0.2])],
    "scales too many": [set_scale("w", [0.1] * 64)],
    "scales none": [set_scale("w", [])],
    "scale negative": [set_scale("w", [-0.1] * 16)],
    "scale nan": [set_scale("w", [np.nan] * 16)],
    "scale infinite": [set_scale("w", [np.inf] * 16)],
    "scale zero": [set_scale("x", [0.0])],
    "scale tiny": [set_scale("y", [1e-38])],
    "zero points none": [set_zero_points("w", [])],
    "zero points set": [set_zero_points("w", [5] * 16)],
    "zero point large": [set_zero_points("x", [70000])],
    "axis": [set_axis],
    "no quantization": [drop_quantization],
    "no options": [drop_options],
    "inputs out of range": [set_inputs([0, 99, 2])],
    "inputs negative": [set_inputs([-1, 1, 2])],
    "inputs missing": [set_inputs([0])],
    "weights as input": [set_inputs([1, 1, 2])],
    "bias as weights": [set_inputs([0, 2, 2])],
    "stride zero": [set_options(strideH=0, strideW=0)],
    "stride huge": [set_options(strideH=2**31 - 1, strideW=2**31 - 1)],
    "stride negative": [set_options(strideH=-1, strideW=-1)],
    "dilation zero": [set_options(dilationHFactor=0, dilationWFactor=0)],
    "dilation huge": [set_options(dilationHFactor=2**31 - 1)],
    "dilation wide": [set_options(dilationHFactor=64, dilationWFactor=64)],
    "activation tanh": [set_options(fusedActivationFunction=4)],
}

# Each file runs in a forked child, so that a crash is an exit status.
CHILD = """
import os, pathlib, sys
from ai_edge_litert.interpreter import Interpreter, load_delegate
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    for with_delegate in (False, True):
        child = os.fork()
        if child == 0:
            try:
                use = [load_delegate(sys.argv[2], {"min_gain": "0"})]
                runner = Interpreter(
                    model_content=path.read_bytes(),
                    experimental_delegates=use if with_delegate else [],
                )
                runner.allocate_tensors()
                runner.invoke()
            except (ValueError, RuntimeError):
                pass
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        print(path.name, int(with_delegate), status, sep="\\t", flush=True)
"""


def crashes(files, folder):
    """Names of the files that only the delegate does not survive."""
    from . import runner

    for name, content in files.items():
        (folder / name).write_bytes(content)
    output = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), runner.LIBRARY],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    ).stdout
    status = {}
    for line in output.splitlines():
        if line.count("\t") == 2:
            name, with_delegate, code = line.split("\t")
            status[name, int(with_delegate)] = int(code)
    assert len(status) == 2 * len(files)
    return [n for n in files if status[n, 1] != 0 and status[n, 0] == 0]


@pytest.mark.parametrize("make", [conv, fully_connected], ids=lambda m: m.__name__)
def test_changed_fields(make, tmp_path: pathlib.Path):
    model = make()
    files = {"unchanged": model.content}
    for name, (change,) in ((n, c) for n, c in CHANGES.items() if len(c) == 1):
        files[name] = changed(model, change)

    def short_bias(*args):
        for change in CHANGES["bias too short"]:
            change(*args)

    files["bias too short"] = changed(model, short_bias)
    assert crashes(files, tmp_path) == []


@pytest.mark.parametrize("make", [conv, fully_connected], ids=lambda m: m.__name__)
def test_flipped_bytes(make, tmp_path: pathlib.Path):
    content = make().content
    rng = np.random.default_rng(0)
    files = {}
    for i in range(150):
        data = bytearray(content)
        for position in rng.integers(0, len(data), rng.integers(1, 4)):
            data[position] = rng.integers(0, 256)
        files[f"flip{i:03}"] = bytes(data)
    assert crashes(files, tmp_path) == []
