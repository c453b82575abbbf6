"""Whole models on every emulated CPU: our layers among XNNPACK's change no output."""

import keras
import numpy as np
import pytest

import qsparse
from benchmarks.sparse_weights import sparse_weights
from tests.tflite_export import models

from .. import graph_models
from . import emulator, guest_runs


def sparse(*shape, seed):
    return sparse_weights(shape, "4x4", 0.25, seed)


def residual_network():
    """Two residual blocks, one of them with stride 2 and another shape."""
    graph = graph_models.Graph((1, 28, 28, 16))
    x = graph.conv(graph.input, sparse(32, 3, 3, 16, seed=1), activation="relu")
    y = graph.conv(x, sparse(16, 1, 1, 32, seed=2), activation="relu")
    y = graph.conv(y, sparse(16, 3, 3, 16, seed=3), activation="relu")
    y = graph.conv(y, sparse(32, 1, 1, 16, seed=4))
    x = graph.add(x, y, activation="relu")
    y = graph.conv(x, sparse(64, 3, 3, 32, seed=5), stride=2, activation="relu6")
    y = graph.conv(y, sparse(64, 3, 3, 64, seed=6))
    x = graph.conv(x, sparse(64, 1, 1, 32, seed=7), stride=2)
    return graph.finish(graph.add(x, y, activation="relu"))


def feed_forward_network():
    """The fully connected half of two transformer blocks."""
    graph = graph_models.Graph((37, 64))
    x = graph.fc(graph.input, sparse(64, 64, seed=1))
    for block in range(2):
        y = graph.fc(x, sparse(256, 64, seed=2 + block), activation="relu")
        x = graph.add(x, graph.fc(y, sparse(64, 256, seed=4 + block)))
    return graph.finish(graph.fc(x, sparse(10, 64, seed=6)))


def prune(model):
    """Zeroes three quarters of the 4x4 blocks of every kernel that has any."""
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if not isinstance(layer, (keras.layers.Dense, keras.layers.Conv2D)):
            continue
        kernel = layer.kernel.numpy()
        inputs, outputs = kernel.shape[-2:]
        if inputs % 4 == 0 and outputs % 4 == 0:
            keep = rng.random((*kernel.shape[:-2], inputs // 4, outputs // 4)) < 0.25
            layer.kernel.assign(kernel * keep.repeat(4, -1).repeat(4, -2))


@pytest.fixture(scope="session")
def model_cases(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp("models")
    for make in (residual_network, feed_forward_network):
        graph = make()
        (folder / f"{make.__name__}.tflite").write_bytes(graph.content)
        np.save(folder / f"{make.__name__}.npy", graph.sample)
    for make in (models.functional_residual, models.transformer):
        model = models.build(make, images[0])
        prune(model)
        path = folder / f"exported_{make.__name__}.tflite"
        qsparse.export(model, path, images[0][:64])
        sample = np.clip(np.rint(images[0][:1] * 60), -128, 127).astype(np.int8)
        np.save(path.with_suffix(".npy"), sample)
    return folder


@pytest.mark.parametrize("cpu", emulator.CPUS)
def test_models(cpu, machine, library, model_cases):
    kernels = ("auto", "fine")
    found = guest_runs.run(machine, cpu, library, model_cases, kernels)
    names = [path.stem for path in model_cases.glob("*.tflite")]
    assert len(names) == 4
    guest_runs.assert_exact(found, names, cpu, kernels, least=lambda name: 4)
    for one in found.values():
        assert all(run["claimed"] >= 3 for run in one["runs"]), one
