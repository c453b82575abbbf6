"""The passes for transformers change numbers inside, never what a model computes."""

import keras
import numpy as np
import pytest
from keras import layers

from qsparse.tflite_export.graph.freeze import freeze
from qsparse.tflite_export.graph.ranges import take_trained
from qsparse.tflite_export.graph.run import runnable
from qsparse.tflite_export.graph.samples import collect
from qsparse.tflite_export.passes import PASSES
from qsparse.tflite_export.passes.base import Context
from tests.tflite_export import models
from tests.tflite_export.transformers import (
    LOUD_CHANNEL,
    LOUD_NEURON,
    enlarge,
    gelu,
    transformer,
)

REWRITINGS = ("group_neurons", "smooth", "scale_residuals", "means_to_sums")


def rewritten(model, data):
    """Return by how much each pass moves the float outputs, and if it did a thing."""
    samples = collect(model, data)
    graph = freeze(model, samples.specs, samples.structure)
    moved, changed = {}, {}
    context = Context(trained=take_trained(graph), batches=samples.batches)
    for step in PASSES:
        before, size = runnable(graph)(*samples.batches[0]), len(graph.nodes)
        step.apply(graph, context)
        if step.name not in REWRITINGS:
            continue
        after = runnable(graph)(*samples.batches[0])
        moved[step.name] = max(
            float(np.abs(before[key] - after[key]).max() / np.std(before[key]))
            for key in before
        )
        changed[step.name] = len(graph.nodes) != size
    return moved, changed


@pytest.mark.parametrize("order", ["pre", "post"])
def test_every_rewriting_keeps_the_function(order, rows):
    model = transformer(order, scale=100.0, neuron=50.0)
    for norm in (x for x in model.layers if "normalization" in x.name):
        enlarge(norm, 7, 30.0)
    moved, changed = rewritten(model, rows)
    assert all(changed.values()), changed
    # Sums of values a hundred times apart, in an order that the CPU chooses.
    assert max(moved.values()) < 1e-3, moved


def seen_elsewhere(what):
    """Return a model in which something else reads what a pass would change."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((28, 28))
    first = layers.Dense(64, name="first")
    hidden, norm = first(inputs), layers.LayerNormalization()
    middle = layers.Reshape((28, 8, 8))(hidden) if what == "torn" else hidden
    shut = layers.Reshape((28, 64))(gelu(False)(middle))
    second = layers.Dense(28, name="second")(shut)
    stream = layers.Reshape((28, 28))(layers.Reshape((784,))(second))
    stream = layers.Add()([inputs, stream])
    if what == "scalar":
        stream = layers.Add()([inputs, stream + 0.5])
    flat = layers.Reshape((2, 14, 28))(norm(stream))
    outputs = {"output": layers.Dense(4)(flat)}
    more = {"branch": hidden, "result": second, "moved": flat}
    if what == "branch":
        outputs["more"] = layers.Dense(3)(hidden)
    elif what in ("result", "moved"):
        outputs["more"] = more[what]
    model = models.randomized(keras.Model(inputs, outputs))
    enlarge(first, LOUD_NEURON, 20.0)
    enlarge(model.get_layer("second"), LOUD_CHANNEL, 100.0)
    norm.gamma.assign(np.where(np.arange(28) == 3, 50.0, 1.0))
    return model


@pytest.mark.parametrize("what", ["branch", "result", "moved", "torn", "scalar"])
def test_what_is_seen_elsewhere_stays_what_it_is(what, rows):
    moved, _ = rewritten(seen_elsewhere(what), rows)
    # Sums of values a hundred times apart, in an order that the CPU chooses.
    assert max(moved.values()) < 1e-3, moved


def test_a_layer_called_twice_is_scaled_for_both(rows):
    keras.utils.set_random_seed(5)
    inputs = keras.Input((28, 28))
    shared, x = layers.Dense(28, name="shared"), inputs
    for _ in range(2):
        x = layers.Add()([x, shared(layers.LayerNormalization()(x))])
    x = layers.Dense(4)(layers.LayerNormalization()(x))
    model = models.randomized(keras.Model(inputs, x))
    enlarge(shared, LOUD_CHANNEL, 100.0)
    moved, changed = rewritten(model, rows)
    assert changed["scale_residuals"] and max(moved.values()) < 1e-4, moved
