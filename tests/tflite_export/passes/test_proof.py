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


def confident(images):
    """Return a classifier that is sure of "no" for all but a few samples, and data."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(1, activation="sigmoid"))
    kernel, bias = model.layers[-1].get_weights()
    x = images[0][:200]
    scores = x.reshape(200, -1) @ kernel[:, 0]
    order = np.argsort(scores)
    spread = 16 / np.ptp(scores)
    model.layers[-1].set_weights([kernel * spread, bias - scores.max() * spread + 6])
    return model, x[order]


@pytest.mark.parametrize("ends", ["int8", "float32"])
def test_data_in_order_are_no_reason_to_refuse(ends, images, tmp_path):
    """On the first samples the output lies within a step of its scale."""
    model, x = confident(images)
    assert model.predict(x[:2], verbose=0).max() < 1e-3
    report = qsparse.export(model, tmp_path / "m.tflite", x, inference_type=ends)
    assert report.fidelity[0].sqnr > 20


def test_a_dead_output_is_no_reason_to_refuse(images, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Dense(8, activation="relu")(keras.layers.Flatten()(inputs))
    dead = keras.layers.Dense(
        4, activation="relu", bias_initializer=keras.initializers.Constant(-1e-4)
    )
    alive = keras.layers.Dense(4)
    model = keras.Model(inputs, [alive(x), dead(x * 0.0)])
    qsparse.export(model, tmp_path / "m.tflite", images[0][:64])
    assert (tmp_path / "m.tflite").exists()


def test_a_class_is_judged_by_the_scores_it_is_made_of(images, tmp_path):
    """A multiplication by one is dropped, and two sources of an output become one."""
    inputs = keras.Input((28, 28, 1))
    logits = keras.layers.Dense(4)(keras.layers.Flatten()(inputs))
    larger = keras.ops.cast(keras.ops.greater(logits * 1.0, logits), "int32")
    model = keras.Model(inputs, {"classes": larger, "logits": logits})
    qsparse.export(model, tmp_path / "m.tflite", images[0][:64], quantize=False)
    broken = Broken(passes.FLOAT_PASSES[0], [1, -1])
    passes.FLOAT_PASSES[0] = broken
    try:
        with pytest.raises(RuntimeError, match="simplify"):
            qsparse.export(model, tmp_path / "n.tflite", images[0][:64], quantize=False)
    finally:
        passes.FLOAT_PASSES[0] = broken.whole
    assert not (tmp_path / "n.tflite").exists()
