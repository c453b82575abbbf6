"""Makes a step of distillation, and a training; run by `test_distillation`.

Usage: distill_worker.py RESULT_FILE
"""

import sys

import keras
import numpy as np
from keras import layers

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.engine.compressor import compressed_layers, state_of


def perceptron(seed):
    random = np.random.default_rng(seed)
    model = keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(32, activation="relu", name="hidden"),
            layers.Dense(12, name="head"),
        ]
    )
    model.set_weights([random.normal(0, 0.3, v.shape) for v in model.weights])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss, metrics=["accuracy"])
    return model


def main(result):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(250, 16)).astype("float32"), random.integers(0, 12, 250)
    teacher = perceptron(2)
    frozen = teacher.get_weights()
    losses = [qsparse.SoftLabels(3.0), qsparse.SquareHead()]
    found = {}
    for name in ("float", "int8"):
        student = perceptron(1)
        qsparse.attach(student, qsparse.Recipe())
        for layer in compressed_layers(student):
            layer.select_mask(0.5)
        state_of(student).quantizing.assign(name == "int8")
        distiller = qsparse.distill(student, teacher, losses, weights=(0.7, 0.2))
        weight = np.linspace(0, 2, 25)
        logs = distiller.train_on_batch(x[:25], y[:25], weight, return_dict=True)
        for index, variable in enumerate(student.weights):
            found[f"{name} {index} {variable.path}"] = variable.numpy()
        for key, value in logs.items():
            found[f"{name} {key}"] = np.float32(value)
    np.savez(result, **{key.replace("_1/", "/"): v for key, v in found.items()})

    # What a layer does in training only, it does in a step.
    inputs = keras.Input((16,))
    normed = layers.BatchNormalization(momentum=0.5, name="norm")(inputs)
    student = keras.Model(inputs, layers.Dense(12)(normed))
    student.compile("sgd", teacher.loss)
    qsparse.distill(student, teacher).train_on_batch(3 + x, y)
    moved = student.get_layer("norm").moving_mean.numpy()
    np.testing.assert_allclose(moved, 0.5 * (3 + x).mean(0), rtol=1e-4)

    student = perceptron(1)
    distiller = qsparse.distill(student, teacher, losses)
    history = distiller.fit(
        *(x, y),
        batch_size=25,
        epochs=4,
        verbose=0,
        validation_data=(x, y),
        callbacks=[PruneThenQuantize()],
    ).history
    assert history["phase"] == [1.0, 1.0, 3.0, 3.0], history
    assert abs(history["sparsity"][-1] - 0.75) < 1e-6, history
    assert qsparse.unfinished(student) is None
    for before, after in zip(frozen, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    for layer in compressed_layers(student):
        low, high = layer.input_quantizer.ranges.numpy()[0]
        assert low <= 0.0 < high
    np.testing.assert_array_equal(
        distiller.predict(x, verbose=0), student.predict(x, verbose=0)
    )


if __name__ == "__main__":
    main(sys.argv[1])
