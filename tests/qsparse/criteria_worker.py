"""Selects masks by every criterion; run by `test_jax` on both backends.

Usage: criteria_worker.py RESULT_FILE
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

import qsparse
from qsparse.callbacks import Prune
from qsparse.engine.compressor import compressed_layers
from qsparse.engine.phases import Phases

# What steps bring, and what data brings or the layer knows by itself.
BY_STEPS = {
    "saliency": "saliency",
    "movement": "movement",
    "fisher": "fisher",
    "moments": qsparse.Fisher("optimizer"),
}
AT_ONCE = {
    "magnitude": "magnitude",
    "random": qsparse.Random(4),
    "saliency": "saliency",
    "snip": "snip",
    "fisher": "fisher",
    "wanda": "wanda",
    "block-fisher": qsparse.BlockFisher(32, 1e-4),
}
WITHOUT_DATA = ("magnitude", "random")


def network(policy):
    """Return a model of weights that follow from no backend."""
    keras.config.set_dtype_policy(policy)
    x = inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.EinsumDense("bhwi,io->bhwo", (None, None, 8), name="einsum")(x)
    x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(12, name="head", dtype="float32")(x))
    keras.config.set_dtype_policy("float32")
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) / 3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Compiling by XLA takes longer than these few steps.
    jit = keras.backend.backend() == "jax"
    model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=jit)
    return model


def after_steps(model, criterion, x, y):
    """Prune at once after four steps of training."""
    settings = {"schedule": "one-shot", "estimator": "ste", "total_steps": 200}
    settings |= {"prune_from": 4, "prune_until": 5, "criterion": criterion}
    callback = Prune("unstructured", 0.5, **settings)
    fit = {"batch_size": 16, "shuffle": False, "verbose": 0}
    model.fit(x, y, callbacks=[callback], **fit)


def at_once(model, pattern, criterion, data):
    """Prune at once, before any step."""
    recipe = qsparse.Recipe(pattern, 0.5, criterion, schedule="one-shot")
    qsparse.attach(model, recipe, score_data=data)
    phases = Phases(model)
    phases.start(200)
    phases.step(0)


def main(result):
    """Keep the masks of all."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 8, 8, 2)).astype(np.float32)
    y = (x.mean(axis=(1, 2, 3)) * 40).astype(int) % 12
    masks = {}

    def keep(model, *names):
        for layer in compressed_layers(model):
            mask = layer.canonical_mask()
            if mask is not None:
                masks["|".join((*names, layer.path_in_model))] = mask

    for name, criterion in BY_STEPS.items():
        policies = ["float32"] + ["mixed_float16"] * (name == "movement")
        for policy in policies:
            model = network(policy)
            after_steps(model, criterion, x, y)
            keep(model, "steps", name, policy)
    for pattern, policy, names in (
        ("unstructured", "float32", tuple(AT_ONCE)),
        ("4x4", "float32", ("random", "wanda", "block-fisher")),
        ("2:4", "mixed_float16", ("snip", "wanda")),
    ):
        for name in names:
            model = network(policy)
            data = None if name in WITHOUT_DATA else (x, y)
            at_once(model, pattern, AT_ONCE[name], data)
            keep(model, pattern, name, policy)
    np.savez(result, **masks)


if __name__ == "__main__":
    main(sys.argv[1])
