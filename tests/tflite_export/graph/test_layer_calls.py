"""Nodes know the layer they were traced in, and tracing leaves no trace."""

import keras
import numpy as np
from keras import layers

import qsparse
from qsparse.tflite_export.graph.freeze import freeze
from qsparse.tflite_export.graph.samples import collect


def nested():
    keras.utils.set_random_seed(0)
    inner = keras.Sequential(
        [keras.Input((8,)), layers.Dense(8, name="dense_1_2"), layers.ReLU(name="act")],
        name="inner",
    )
    inputs = keras.Input((8,))
    return keras.Model(inputs, layers.Dense(4, name="last")(inner(inputs) + 1.0))


def test_every_node_is_of_the_innermost_layer():
    model = nested()
    samples = collect(model, np.eye(8, dtype=np.float32))
    graph = freeze(model, samples.specs, samples.structure)
    found = {
        node.op: graph.layer_of(node.name)
        for node in graph.nodes.values()
        if node.op in ("Relu", "AddV2", "Add")
    }
    products = [n.name for n in graph.nodes.values() if n.op == "MatMul"]
    assert found["Relu"] == "inner/act"
    assert found.get("AddV2", found.get("Add")) == ""  # a bare sum is of no layer
    assert [graph.layer_of(name) for name in products] == ["inner/dense_1_2", "last"]
    assert graph.layer_of(f"{products[0]}/scaled/copy_1") == "inner/dense_1_2"
    assert graph.layer_of("no_such_node") == ""


def test_a_call_of_the_users_own_survives_an_export(images, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten()])
    model.add(layers.Dense(4))
    layer, plain = model.layers[-1], model.layers[-1].call
    layer.call = lambda inputs, **settings: plain(inputs) * 3.0
    mine = layer.call
    before = model.predict(images[0][:4], verbose=0)
    qsparse.export(model, tmp_path / "m.tflite", images[0][:64])
    assert layer.call is mine and "call" not in vars(model.layers[0])
    np.testing.assert_array_equal(model.predict(images[0][:4], verbose=0), before)
