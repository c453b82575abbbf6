"""A file is compared with what the Keras model predicts, and doubts are spoken."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse import cli
from qsparse.callbacks import PruneThenQuantize
from qsparse.tflite_export import verify_file
from qsparse.tflite_export.parity.fidelity import judge
from qsparse.tflite_export.passes.bake_biases import BakeBiases
from qsparse.tflite_export.passes.base import Pass
from tests.conftest import compiled
from tests.tflite_export.passes_list import replaced


@pytest.fixture(scope="module")
def trained(images):
    """Return a small CNN that was trained in int8."""
    keras.utils.set_random_seed(3)
    model = compiled(
        keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Conv2D(16, 3, strides=2, activation="relu"),
                layers.Conv2D(16, 3, strides=2, activation="relu"),
                layers.Flatten(),
                layers.Dense(12),
            ]
        )
    )
    x, y = images
    model.fit(
        *(x, y), epochs=3, batch_size=32, verbose=0, callbacks=[PruneThenQuantize()]
    )
    return model


def test_numbers_of_a_comparison():
    reference = np.array([[1.0, 100.0], [2.0, 300.0], [0.0, 200.0], [3.0, -100.0]])
    got = reference + [[0.0, 4.0], [0.0, -4.0], [0.0, 0.0], [0.0, 0.0]]
    found = judge("out", reference, got, 2.0, np.array([1, 1, 0, 0]))
    noise, signal = 32.0, 14.0 + 15.0 * 1e4
    assert found.sqnr == pytest.approx(10 * np.log10(signal / noise))
    assert (found.max_lsb, found.mean_lsb, found.worst_channel) == (2.0, 0.5, 1)
    assert found.coarse == (0,)  # spans 3 with steps of 2
    assert found.agreement == 1.0 and found.classifies
    assert found.accuracy == found.file_accuracy == 0.75
    assert "channels [0] of 2 span under 4" in next(found.warnings())
    assert found.failure(30.0) is None and "36.7 dB" in found.failure(40.0)


@pytest.mark.parametrize(("flips", "doubts"), [(2, 0), (3, 2)])
def test_other_classes_and_lost_accuracy_are_named(flips, doubts):
    """Three of 200 are 1.5%: more than the 1% that a file may differ by."""
    classes = np.arange(200) % 4
    reference = 10 * np.eye(4)[classes]
    got = reference.copy()
    got[:flips] += 11 * np.eye(4)[(classes[:flips] + 1) % 4]
    found = judge("out", reference, got, 0.1, classes)
    said = [text for text in found.warnings() if "dB" not in text]
    assert len(said) == doubts
    if doubts:
        assert "names the class that the Keras model names in 98.5% of 200" in said[0]
        assert "accuracy falls from 100.0% to 98.5% on 200 samples" in said[1]


def test_equal_outputs_are_exact_and_a_dead_one_is_not():
    ones = np.ones((4, 3))
    assert judge("a", ones, ones, 1.0).sqnr == 200.0
    assert judge("a", 0 * ones, ones, 1.0).failure(10.0) is not None


def test_a_good_file_says_nothing_and_knows_its_accuracy(trained, images, tmp_path):
    x, y = images[0][:400], images[1][:400]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = qsparse.export(trained, tmp_path / "m.tflite", (x, y))
    (found,) = report.fidelity
    assert report.warnings == [] and found.samples == 64
    assert found.sqnr > 25 and found.agreement > 0.95 and found.classifies
    predicted = trained.predict(x, verbose=0).argmax(1) == y
    assert found.accuracy == pytest.approx(predicted.mean(), abs=0.1)
    assert found.file_accuracy == pytest.approx(found.accuracy, abs=0.04)
    assert "against the Keras model" in str(report) and "accuracy" in str(report)


def test_samples_are_judged_that_no_range_has_seen(trained, images, tmp_path):
    """An extreme that only held-back samples have clips, and shows."""
    keras.utils.set_random_seed(0)
    plain = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten()])
    plain.add(layers.Dense(8))
    x = images[0][:256].copy()
    x[7::8] *= 3
    with pytest.warns(UserWarning, match="dB from the Keras model"):
        report = qsparse.export(plain, tmp_path / "m.tflite", x, min_sqnr=-200)
    assert report.fidelity[0].sqnr < 20


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda x: x / 255, "Scale the data as in training"),
        (lambda x: x * 255, "Scale the data as in training"),
        (lambda x: x * 0, "are 0 everywhere"),
    ],
)
def test_data_of_another_scale_than_in_training(
    change, said, trained, images, tmp_path
):
    with pytest.warns(UserWarning, match=said):
        qsparse.export(
            *(trained, tmp_path / "m.tflite", change(images[0][:200])), min_sqnr=-200
        )


def test_one_sample_is_too_few(images, tmp_path):
    model = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten()])
    model.add(layers.Dense(8))
    with pytest.warns(UserWarning, match="holds 1 samples.*Give 100 to 500"):
        qsparse.export(model, tmp_path / "m.tflite", images[0][:1])


def detector():
    """Return a model whose one output holds boxes up to 640 and scores up to 1."""
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(8, 3, strides=4, activation="relu")(inputs)
    x = layers.Flatten()(x)
    boxes = 640 * keras.ops.sigmoid(layers.Dense(4)(x))
    scores = keras.ops.sigmoid(layers.Dense(2)(x))
    return keras.Model(inputs, layers.Concatenate()([boxes, scores]))


def test_a_channel_that_is_lost_among_larger_ones_is_named(images, tmp_path):
    keras.utils.set_random_seed(0)
    with pytest.warns(UserWarning, match=r"channels \[4, 5\] of 6 span under 4 of its"):
        report = qsparse.export(detector(), tmp_path / "m.tflite", images[0][:64])
    assert report.fidelity[0].coarse == (4, 5)


def test_features_that_an_int8_input_cannot_tell_apart_are_named(tmp_path):
    keras.utils.set_random_seed(0)
    means, widths = [50000, 40, 0.5], [20000, 10, 0.1]
    x = np.random.default_rng(0).normal(means, widths, (256, 3)).astype(np.float32)
    normalization = layers.Normalization()
    normalization.adapt(x)
    model = keras.Sequential([keras.Input((3,)), normalization, layers.Dense(8)])
    with pytest.warns(UserWarning, match=r"features \[1, 2\] of 3 span under 4"):
        qsparse.export(model, tmp_path / "m.tflite", x, min_sqnr=-200)


class Spoil(Pass):
    """Turns half the signs, and says that it may."""

    name = "spoil"
    tolerance = -200.0

    def apply(self, graph, context):
        for node in list(graph.nodes.values()):
            if node.op == "MatMul":
                half = graph.value(node.input[1]).copy()
                half[:, ::2] *= -1
                node.input[1] = graph.add_constant("spoilt", half)


def test_a_pass_that_spoils_the_graph_is_refused(images, tmp_path):
    """The file is exactly what the spoilt graph computes; the model is not."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten()])
    model.add(layers.Dense(32, activation="relu"))
    model.add(layers.Dense(8))
    path = tmp_path / "m.tflite"
    with replaced("bake_biases", BakeBiases(), Spoil()):
        with pytest.raises(RuntimeError, match="dB from what the Keras model predicts"):
            qsparse.export(model, path, images[0][:64])
        assert not path.exists()
        report = qsparse.export(model, path, images[0][:64], min_sqnr=-200)
    assert report.parity.max_lsb < 1.5 and report.fidelity[0].max_lsb > 50


def test_verify_fails_on_the_file_of_another_training(trained, images, tmp_path, capfd):
    path = tmp_path / "m.tflite"
    qsparse.export(trained, path, images[0][:200])
    np.savez(tmp_path / "x.npz", x=images[0][:64], y=images[1][:64])
    assert verify_file(trained, path, images[0][:64], images[1][:64]).failures == []
    with pytest.warns(UserWarning, match="copy of a compressed layer"):
        model = keras.models.clone_model(trained)
    qsparse.attach(model, qsparse.Recipe())
    model.set_weights(trained.get_weights())
    kernel = model.layers[-1].weights[0]
    kernel.assign(-kernel)
    model.save(tmp_path / "m.keras")
    command = ["verify", f"{tmp_path}/m.keras", str(path), "--data"]
    assert cli.main([*command, f"{tmp_path}/x.npz"]) == 1
    assert "dB from what the Keras model predicts" in " ".join(
        capfd.readouterr().out.split()
    )


@pytest.mark.parametrize(
    "call, error, said",
    [
        (lambda m, x, p: qsparse.export(p, m, x), TypeError, "The order is export"),
        (lambda m, x, p: qsparse.export(m, x, p), TypeError, "path must be"),
        (lambda m, x, p: qsparse.export(m, p), TypeError, "must hold samples"),
        (
            lambda m, x, p: qsparse.export(m, p, np.zeros(8, np.int64)),
            ValueError,
            "Are these labels",
        ),
    ],
)
def test_swapped_or_missing_arguments(call, error, said, trained, images, tmp_path):
    with pytest.raises(error, match=said):
        call(trained, images[0][:8], tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []


def test_the_reason_is_said_where_layers_compute_other_values(images, tmp_path):
    """Three steps: prediction has moving statistics that training knew nothing of."""
    keras.utils.set_random_seed(3)
    small = keras.initializers.RandomNormal(stddev=0.12, seed=1)
    body = []
    for _ in range(2):
        body += [
            layers.Conv2D(
                16, 3, padding="same", use_bias=False, kernel_initializer=small
            ),
            layers.BatchNormalization(),
            layers.Activation("silu"),
        ]
    ends = [layers.GlobalAveragePooling2D(), layers.Dense(12, use_bias=False)]
    model = compiled(keras.Sequential([keras.Input((28, 28, 1)), *body, *ends]))
    x, y = images[0][:96], images[1][:96]
    callback = PruneThenQuantize(prune_from=0, prune_until=1, quantize_from=1)
    model.fit(x, y, verbose=0, callbacks=[callback])
    with pytest.warns(UserWarning, match="dB from the Keras model"):
        report = qsparse.export(model, tmp_path / "m.tflite", x, min_sqnr=-200)
    (why,) = [text for text in report.warnings if "their trained range" in text]
    assert "fill an eighth or less of their trained range at" in why
    assert "BatchNormalization needs some hundred steps" in why
