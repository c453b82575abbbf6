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

CRITERIA = {
    "magnitude": "magnitude",
    "random": qsparse.Random(4),
    "saliency": "saliency",
    "saliency of data": "saliency",
    "movement": "movement",
    "snip": "snip",
    "wanda": "wanda",
    "fisher": "fisher",
    "fisher of data": "fisher",
    "fisher of the optimizer": qsparse.Fisher("optimizer"),
    "block-fisher": qsparse.BlockFisher(32, 1e-4),
}
FROM_DATA = ("snip", "wanda", "block-fisher")


def network(policy):
    """Return a model of weights that follow from no backend."""
    keras.config.set_dtype_policy(policy)
    x = inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="second")(x)
    x = layers.EinsumDense("bhwi,io->bhwo", (None, None, 8), name="einsum")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(12, name="head", dtype="float32")(x))
    keras.config.set_dtype_policy("float32")
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) / 3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    return model


def main(result):
    """Prune at once after four steps, and keep the masks."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 8, 8, 2)).astype(np.float32)
    y = (x.mean(axis=(1, 2, 3)) * 40).astype(int) % 12
    masks = {}
    for name, criterion in CRITERIA.items():
        data = {"score_data": (x, y)} if "data" in name or name in FROM_DATA else {}
        for pattern, policy in (
            ("unstructured", "float32"),
            ("4x4", "float32"),
            ("unstructured", "mixed_float16"),
        ):
            model = network(policy)
            callback = Prune(
                pattern,
                0.5,
                criterion=criterion,
                schedule="one-shot",
                estimator="ste",
                prune_from=4,
                prune_until=5,
                total_steps=200,
                **data,
            )
            model.fit(
                x,
                y,
                batch_size=16,
                shuffle=False,
                verbose=0,
                callbacks=[callback],
            )
            for layer in compressed_layers(model):
                key = f"{name}|{pattern}|{policy}|{layer.path_in_model}"
                masks[key] = layer.canonical_mask()
    np.savez(result, **masks)


if __name__ == "__main__":
    main(sys.argv[1])
