"""A pass that spoils the graph is named, and nothing is written."""

import keras
import numpy as np
import pytest

import qsparse
from qsparse.tflite_export import passes
from qsparse.tflite_export.graph.ops import WEIGHTED
from qsparse.tflite_export.passes.base import EXACT, ROUNDING, Pass
from tests.conftest import small_cnn
from tests.tflite_export import models
from tests.tflite_export.passes_list import replaced

INT8 = list(passes.PASSES)


def last_product(graph):
    return [
        node
        for node in graph.nodes.values()
        if node.op in WEIGHTED and graph.is_constant(node.input[1])
    ][-1]


class Broken(Pass):
    """Does what another pass does, and then what it must not."""

    def __init__(self, whole, factors):
        self.whole, self.factors = whole, factors
        self.name, self.tolerance = whole.name, whole.tolerance

    def apply(self, graph, context):
        self.whole.apply(graph, context)
        node = last_product(graph)
        weights = graph.value(node.input[1])
        factors = np.resize(np.float32(self.factors), weights.shape[-1])
        node.input[1] = graph.add_constant("broken", weights * factors)
        graph.refresh()


@pytest.fixture(scope="module")
def cnn():
    keras.utils.set_random_seed(3)
    return models.randomized(small_cnn())


def test_every_pass_states_what_it_may_change():
    assert len({step.name for step in INT8}) == len(INT8)
    assert {step.tolerance for step in INT8} == {EXACT, ROUNDING}
    exact = [step.name for step in INT8 if step.tolerance == EXACT]
    assert {"simplify", "smooth", "equalize", "scale_residuals"} < set(exact)


@pytest.mark.parametrize("ends", ["int8", "float32"])
@pytest.mark.parametrize("step", INT8, ids=lambda step: step.name)
def test_a_broken_pass_is_named(step, ends, cnn, images, tmp_path):
    """An exact pass may not be one percent off, one that rounds not turn signs."""
    broken = Broken(step, [1.01] if step.tolerance == EXACT else [1, -1])
    path = tmp_path / "m.tflite"
    with replaced(step.name, broken), pytest.raises(RuntimeError, match=step.name):
        qsparse.export(cnn, path, images[0][:64], inference_type=ends)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("settings", [{"dynamic_range": True}, {"quantize": False}])
def test_a_broken_pass_of_a_float_file_is_named(settings, cnn, images, tmp_path):
    lists = {True: passes.DYNAMIC_RANGE_PASSES, False: passes.FLOAT_PASSES}
    steps = lists["dynamic_range" in settings]
    for index, step in enumerate(list(steps)):
        steps[index] = Broken(step, [1, -1])
        try:
            with pytest.raises(RuntimeError, match=step.name):
                qsparse.export(cnn, tmp_path / "m.tflite", images[0][:64], **settings)
        finally:
            steps[index] = step
    assert list(tmp_path.iterdir()) == []


def test_whoever_accepts_everything_gets_the_file(cnn, images, tmp_path):
    broken = Broken(INT8[0], [1, -1])
    with replaced("simplify", broken), pytest.warns(UserWarning, match="dB from"):
        qsparse.export(cnn, tmp_path / "m.tflite", images[0][:64], min_sqnr=-200)
    assert (tmp_path / "m.tflite").exists()


class Watch(Pass):
    """A pass from outside the package: sees the graph, changes nothing."""

    name = "watch"

    def __init__(self):
        self.seen = 0

    def apply(self, graph, context):
        self.seen = len(graph.nodes)


def test_a_pass_is_added_by_one_row(cnn, images, tmp_path):
    watch = Watch()
    passes.PASSES.insert(1, watch)
    try:
        report = qsparse.export(cnn, tmp_path / "m.tflite", images[0][:64])
    finally:
        passes.PASSES.remove(watch)
    assert watch.seen > 10 and report.fidelity[0].sqnr > 10
