"""Valid files in which something is computed that nobody reads."""

import json

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, load_delegate

from benchmarks.sparse_weights import sparse_weights

from ..graph_models import Graph
from . import runner
from .graph_fuzz.__main__ import SETTINGS
from .graph_fuzz.compare import Comparison
from .graph_fuzz.writer import pack, read


def network():
    """Features, a sum with a second branch, a head; the tensors each of them writes."""
    graph = Graph((1, 8, 8, 16))
    features = graph.conv(
        graph.input, sparse_weights((32, 3, 3, 16), "4x4", 0.3), activation="relu"
    )
    branch = graph.conv(features, sparse_weights((32, 3, 3, 32), "4x4", 0.3, 1))
    total = graph.add(features, branch)
    logits = graph.conv(total, sparse_weights((16, 1, 1, 32), "4x4", 0.3, 2))
    return graph.finish(logits), (features, branch, total, logits)


def changed(change):
    graph, tensors = network()
    tree = read(graph.content)
    change(tree.subgraphs[0], *tensors)
    return pack(tree)


def features_are_the_output(graph, features, branch, total, logits):
    graph.outputs = [features]


def an_inner_tensor_is_an_output_too(graph, features, branch, total, logits):
    graph.outputs = [branch, logits, features]


def the_head_is_dropped(graph, features, branch, total, logits):
    del graph.operators[-2:]
    graph.outputs = [features]


def the_reader_is_removed(graph, features, branch, total, logits):
    """Of the second branch: the head reads the features instead of the sum."""
    graph.operators[3].inputs = [features, *graph.operators[3].inputs[1:]]
    del graph.operators[2]


def an_operator_is_there_twice(graph, features, branch, total, logits):
    tensor = read(network()[0].content).subgraphs[0].tensors[branch]
    graph.tensors.append(tensor)
    operator = read(network()[0].content).subgraphs[0].operators[1]
    operator.outputs = [len(graph.tensors) - 1]
    graph.operators.insert(2, operator)


def an_operator_is_there_twice_and_writes_the_same(
    graph, features, branch, total, logits
):
    graph.operators.insert(2, read(network()[0].content).subgraphs[0].operators[1])


def an_input_is_produced(graph, features, branch, total, logits):
    graph.inputs = [*graph.inputs, branch]
    graph.outputs = [features]


def a_tensor_is_written_after_it_was_read(graph, features, branch, total, logits):
    graph.operators[1].outputs = [0]
    graph.operators[2].inputs = [features, features]


CHANGES = (
    features_are_the_output,
    an_inner_tensor_is_an_output_too,
    the_head_is_dropped,
    the_reader_is_removed,
    an_operator_is_there_twice,
    an_operator_is_there_twice_and_writes_the_same,
    an_input_is_produced,
    a_tensor_is_written_after_it_was_read,
)


@pytest.fixture(scope="module")
def comparison():
    made = Comparison(runner.LIBRARY, SETTINGS)
    yield made
    made.close()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_runs_as_without_the_delegate(change, comparison):
    before = comparison.counts["stock runs"]
    assert comparison.check([(changed(change), 1)]) == {}
    assert comparison.counts["stock runs"] == before + 1


class File:
    def __init__(self, change):
        self.content = changed(change)


def test_what_no_output_depends_on_is_not_part_of_a_chain():
    features, branch, total, logits = runner.plan_of(
        File(features_are_the_output), min_gain="0"
    )
    assert features["claimed"]
    for decision in (branch, total, logits):
        assert not decision["claimed"]
        assert decision["reason"] == "no output depends on it"


def test_a_graph_that_writes_a_tensor_twice_is_left_alone():
    change = an_operator_is_there_twice_and_writes_the_same
    for decision in runner.plan_of(File(change), min_gain="0"):
        assert not decision["claimed"]
        assert decision["reason"] == "a tensor is written twice, or once it was read"


def _zero_point(graph, layer):
    graph.tensors[layer.inputs[2]].quantization.zeroPoint = np.full(32, 5)


def _no_quantization(graph, layer):
    graph.tensors[layer.inputs[2]].quantization = None


def _denormal_scales(graph, layer):
    quantization = graph.tensors[layer.inputs[2]].quantization
    quantization.scale = np.full(len(quantization.scale), 1e-45, np.float32)


def _no_bias(graph, layer):
    layer.inputs = list(layer.inputs)[:2]


def _output_of_rank_5(graph, layer):
    output = graph.tensors[layer.outputs[0]]
    output.shape = [*output.shape, 1]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_zero_point, "bias is not symmetric"),
        (_no_quantization, "bias is not quantized"),
        (_denormal_scales, "a bias scale is not a positive number"),
        (_no_bias, "convolution without a bias"),
        (_output_of_rank_5, "output of another shape"),
    ],
)
def test_what_xnnpack_refuses_is_not_claimed(tmp_path, damage, reason):
    """LiteRT refuses such a file or rounds otherwise: it must not run as ours alone."""

    def change(graph, *tensors):
        damage(graph, graph.operators[0])

    path = tmp_path / "plan.json"
    delegate = load_delegate(runner.LIBRARY, {"min_gain": "0", "plan": str(path)})
    Interpreter(model_content=changed(change), experimental_delegates=[delegate])
    first = json.loads(path.read_text())[0]
    assert not first["claimed"]
    assert first["reason"] == reason
