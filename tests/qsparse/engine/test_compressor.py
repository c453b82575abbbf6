"""Attaching and stripping: shared layers, copies, distribution, LoRA."""

import gc
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.engine.compressor import compressed_layers, state_of
from tests.conftest import compiled


def mlp(inputs=16):
    return compiled(
        keras.Sequential(
            [
                keras.Input((inputs,)),
                layers.Dense(32, activation="relu", name="a"),
                layers.Dense(32, activation="relu", name="b"),
                layers.Dense(12, name="c"),
            ]
        )
    )


@pytest.fixture
def pixels(images):
    """Return the 16 central pixels of 256 images, and labels."""
    return images[0][:256, 12:16, 12:16].reshape(256, 16), images[1][:256]


def test_attach_is_idempotent_and_strip_undoes_it(pixels):
    model = mlp()
    names = [w.path for w in model.weights]
    qsparse.attach(model, qsparse.Recipe())
    count = len(model.weights)
    qsparse.attach(model, qsparse.Recipe())
    assert len(model.weights) == count
    assert state_of(model).clock.path in {w.path for w in model.weights}
    qsparse.strip(model)
    assert [w.path for w in model.weights] == names
    assert {type(layer) for layer in model.layers} == {layers.Dense}
    model.add(layers.Dense(3))  # still not locked
    assert model.predict(pixels[0], verbose=0).shape == (256, 3)


def test_a_shared_layer_is_compressed_once(pixels):
    inner = mlp()
    inputs = keras.Input((16,))
    outer = compiled(keras.Model(inputs, layers.Dense(8)(inner(inputs))))
    qsparse.attach(inner, qsparse.Recipe())
    qsparse.attach(outer, qsparse.Recipe())  # takes over: nothing had begun
    assert state_of(inner) is state_of(outer)
    assert len(compressed_layers(outer)) == 4
    for act in (qsparse.strip, lambda m: qsparse.attach(m, qsparse.Recipe())):
        with pytest.raises(ValueError, match="part of another model.*strip that"):
            act(inner)
    qsparse.strip(outer)
    assert {type(layer) for layer in inner.layers} == {layers.Dense}

    inner.fit(*pixels, epochs=2, verbose=0, callbacks=[PruneThenQuantize()])
    with pytest.raises(ValueError, match="or a part of it, already carries"):
        qsparse.attach(outer, qsparse.Recipe())


@pytest.mark.parametrize(
    ("policy", "calls"), [("float32", 1), ("float32", 3), ("mixed_float16", 1)]
)
def test_sr_ste_decays_once_per_step(policy, calls):
    """With no gradient from the loss, one SGD step moves pruned weights by decay."""
    x = inputs = keras.Input((8,), dtype="float32")
    layer = layers.Dense(8, use_bias=False, dtype=policy)
    for _ in range(calls):
        x = layer(x)
    model = keras.Model(inputs, x)
    optimizer = keras.optimizers.SGD(1.0)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, lambda labels, outputs: keras.ops.mean(outputs) * 0.0)
    recipe = qsparse.Recipe(estimator=qsparse.SRSTE(0.25), quantize=False)
    qsparse.attach(model, recipe)
    (compression,) = compressed_layers(model)
    compression.select_mask(0.5)
    before, mask = compression.master(), compression.canonical_mask()
    ones = np.ones((4, 8), np.float32)
    history = model.fit(ones, ones, epochs=1, batch_size=4, verbose=0).history
    expected = before - 0.25 * before * ~mask
    np.testing.assert_allclose(compression.master(), expected, rtol=1e-6)
    assert history["loss"] == [0.0]  # the decay moves weights, not the loss


def test_the_users_regularizer_stays(pixels):
    model = mlp()
    kernel = model.layers[0]._kernel
    mine = keras.regularizers.L2(0.1)
    kernel.regularizer = mine
    expected = float(sum(model.losses))
    qsparse.attach(model, qsparse.Recipe())
    assert float(sum(model.losses)) == pytest.approx(expected)
    qsparse.strip(model)
    assert kernel.regularizer is mine


def test_a_part_of_a_model_outlives_it(pixels):
    def part():
        model = mlp()
        model.fit(*pixels, epochs=2, verbose=0, callbacks=[PruneThenQuantize()])
        return keras.Model(model.inputs, model.layers[1].output)

    encoder = part()
    gc.collect()
    assert np.isfinite(encoder.predict(pixels[0], verbose=0)).all()


@pytest.mark.parametrize("estimator", ["ste", "masked", "sr-ste"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_every_estimator_trains(pixels, estimator, dtype):
    model = mlp()
    model.pop()
    model.add(layers.Dense(12, dtype=dtype, kernel_regularizer="l2"))
    compiled(model)
    callback = PruneThenQuantize(estimator=estimator)
    history = model.fit(*pixels, epochs=2, verbose=0, callbacks=[callback]).history
    assert np.isfinite(history["loss"]).all()
    assert history["sparsity"][-1] == pytest.approx(0.75)


def test_a_recipe_that_never_began_may_grow(cnn):
    qsparse.attach(cnn, qsparse.Recipe(quantize=False))
    covered = qsparse.attach(cnn, qsparse.Recipe())
    assert all(row.format == "int8" for row in covered.layers)


def test_inputs_may_be_given_by_name(pixels):
    inputs = keras.Input((16,))
    model = compiled(keras.Model(inputs, layers.Dense(12)(inputs=inputs)))
    expected = model.predict(pixels[0], verbose=0)
    qsparse.attach(model, qsparse.Recipe())
    np.testing.assert_array_equal(model.predict(pixels[0], verbose=0), expected)


def test_clones_are_plain(cnn):
    qsparse.attach(cnn, qsparse.Recipe())
    with pytest.warns(UserWarning, match="copy of a compressed layer.*stay behind"):
        clone = keras.models.clone_model(cnn)
    assert state_of(clone) is None
    plain = {type(layer).__name__: type(layer) for layer in clone.layers}
    assert plain["DepthwiseConv2D"] is layers.DepthwiseConv2D
    assert plain["Dense"] is layers.Dense
    assert len(qsparse.attach(clone, qsparse.Recipe()).layers) == 5


def test_weights_in_memory_carry_the_state(pixels):
    model = mlp()
    model.fit(*pixels, epochs=2, verbose=0, callbacks=[PruneThenQuantize()])
    fresh = mlp()
    qsparse.attach(fresh, PruneThenQuantize().recipe)
    fresh.set_weights(model.get_weights())
    assert state_of(fresh).quantizing.numpy()
    np.testing.assert_array_equal(
        fresh.predict(pixels[0], verbose=0), model.predict(pixels[0], verbose=0)
    )


@pytest.mark.filterwarnings("ignore:Layer .* does not have a")
def test_lora_and_keras_quantization_are_left_alone():
    model = mlp()
    model.layers[0].enable_lora(2)
    reasons = {
        row.path: row.reason
        for row in qsparse.attach(model, qsparse.Recipe(quantize=False)).layers
    }
    assert reasons == {"a": "it has LoRA enabled", "b": "", "c": ""}
    model.layers[1].enable_lora(2)
    with pytest.raises(ValueError, match="'b' has LoRA enabled after.*strip"):
        compressed_layers(model)[0].select_mask(0.75)

    quantized = mlp()
    quantized.quantize("int8")
    with pytest.raises(ValueError, match="was quantized by Keras"):
        qsparse.attach(quantized, qsparse.Recipe())


def test_exclude_covers_containers_and_rejects_typos(pixels):
    inner = mlp()
    inputs = keras.Input((16,))
    outer = keras.Model(inputs, layers.Dense(8, name="head")(inner(inputs)))
    covered = qsparse.attach(outer, qsparse.Recipe(exclude=inner.name)).layers
    assert [row.path for row in covered if not row.reason] == ["head"]
    with pytest.raises(ValueError, match="exclude='haed' matches no layer"):
        qsparse.attach(mlp(), qsparse.Recipe(exclude="haed"))


def test_mirrored_strategy():
    """In a process of its own: logical devices are made before TensorFlow starts."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.qsparse.engine.mirrored_worker"],
        cwd=Path(__file__).parents[3],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert "shared by two replicas" in run.stdout
    assert "summed by two replicas" in run.stdout
    assert "gone through once for two replicas" in run.stdout
    assert "settle alike on two replicas" in run.stdout
