"""Which layers a recipe compresses and counts, and why it leaves the others."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.engine.compressor import compressed_layers
from qsparse.engine.phases import Phases
from tests.conftest import compiled


def reasons(model, **settings):
    """Return `{path: reason}` of what a fresh recipe makes of each layer."""
    rows = qsparse.attach(model, qsparse.Recipe(**settings)).layers
    return {row.path: row.reason for row in rows}


def dense(units, name, **settings):
    return layers.Dense(units, name=name, activation="relu", **settings)


def test_recurrent_weights_count():
    model = keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.LSTM(32, name="lstm"),
            dense(16, "a"),
            layers.Dense(12, name="b"),
        ]
    )
    coverage = qsparse.attach(model, qsparse.Recipe())
    for compression in compressed_layers(model):
        compression.select_mask(0.75)
    coverage = qsparse.coverage(model)
    weights = 28 * 128 + 32 * 128 + 32 * 16 + 16 * 12
    zeros = 0.75 * (32 * 16 + 16 * 12)
    assert sum(row.weights for row in coverage.layers) == weights
    assert coverage.sparsity == pytest.approx(zeros / weights)  # 6.3%
    assert coverage.pruned_share == pytest.approx((32 * 16 + 16 * 12) / weights)
    assert "lstm/lstm_cell/recurrent_kernel  32x128" in str(coverage)
    assert "6.3% of all weights are zero; 8.4% lie in pruned layers" in str(coverage)


class Mixer(layers.Layer):
    """A layer nobody here knows, with weights of its own and no `kernel`."""

    def build(self, shape):
        self.mix = self.add_weight(shape=(shape[-1], 6), name="mix")
        self.shift = self.add_weight(shape=(6,), name="shift")
        self.seen = self.add_weight(shape=(2, 2), trainable=False, name="seen")

    def call(self, x):
        return ops.matmul(x, self.mix) + self.shift


@pytest.mark.parametrize(
    ("layer", "shape", "weights"),
    [
        (layers.GRU(8), (5, 4), 4 * 24 + 8 * 24),
        (layers.ConvLSTM2D(2, 3), (3, 6, 6, 1), 9 * 1 * 8 + 9 * 2 * 8),
        (layers.Conv3D(2, 2), (4, 4, 4, 1), 8 * 1 * 2),
        (layers.Conv2DTranspose(3, 2), (4, 4, 5), 4 * 3 * 5),
        (layers.SeparableConv2D(6, 3), (5, 5, 4), 9 * 4 + 4 * 6),
        (layers.Embedding(10, 3), (4,), 30),
        (Mixer(), (4,), 24),
    ],
)
def test_every_weight_counts(layer, shape, weights):
    model = keras.Sequential(
        [keras.Input(shape), layer, layers.Flatten(), layers.Dense(4, name="head")]
    )
    head = int(np.prod(model.layers[-1].kernel.shape))
    fits = model.layers[-1].kernel.shape[0] % 4 == 0
    pattern = "block" if fits else "unstructured"
    coverage = qsparse.attach(model, qsparse.Recipe(pattern=pattern))
    assert sum(row.weights for row in coverage.layers) == weights + head
    assert coverage.pruned_share == pytest.approx(head / (weights + head))
    assert all(row.reason for row in coverage.layers if row.path != "head")


def test_a_models_own_and_shared_weights_count_once():
    class Model(keras.Model):
        def __init__(self):
            super().__init__(name="model")
            self.table = self.add_weight(shape=(4, 8), name="table")
            self.dense = layers.Dense(8, name="dense")
            self.tied = Mixer(name="tied")

        def build(self, shape):
            self.dense.build((None, 8))
            self.tied.mix, self.tied.built = self.dense._kernel, True

        def call(self, x):
            return self.dense(ops.matmul(x, self.table))

    model = Model()
    model.build((None, 4))
    rows = qsparse.attach(model, qsparse.Recipe(quantize=False)).layers
    assert {(row.path, row.variable): row.weights for row in rows} == {
        ("model", "table"): 32,
        ("dense", "kernel"): 64,
    }


def test_a_wrapped_kernel_counts_where_it_is_pruned():
    conv = layers.Conv2D(8, 3, name="conv")
    model = keras.Sequential(
        [keras.Input((8, 8, 4)), layers.SpectralNormalization(conv, name="wrapped")]
    )
    assert reasons(model, strict=True) == {"wrapped/conv": ""}


def test_strict_sees_every_layer_that_multiplies():
    def model():
        return keras.Sequential(
            [
                keras.Input((4,)),
                layers.Embedding(10, 8),
                layers.LayerNormalization(),
                layers.LSTM(8, name="lstm"),
                layers.Dense(8, name="head"),
            ]
        )

    with pytest.raises(ValueError, match="strict=True.*'lstm/lstm_cell': it runs in"):
        qsparse.attach(model(), qsparse.Recipe(strict=True))
    # What is excluded is left on purpose; an embedding has no sums to thin out.
    rest = reasons(model(), strict=True, exclude="lstm")
    assert [path for path, reason in rest.items() if not reason] == ["head"]


class Standardized(layers.Conv2D):
    """Weight standardization: the kernel that multiplies is another one."""

    def convolution_op(self, inputs, kernel):
        kernel = kernel - ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
        return super().convolution_op(inputs, kernel)


class Scaled(layers.Dense):
    def call(self, inputs):
        return super().call(inputs) * 2.0


class Renamed(layers.Dense):
    """Changes nothing about the use of its kernel."""

    def build(self, shape):
        super().build(shape)
        self.note = "built"


def test_layers_with_code_of_their_own_are_left_alone():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            Standardized(8, 3, name="standardized"),
            layers.Conv2D(8, 3, name="plain"),
            layers.Flatten(),
            Scaled(8, name="scaled"),
            Renamed(8, name="renamed"),
        ]
    )
    assert reasons(model) == {
        "standardized": "Standardized has its own `convolution_op`, "
        "which may need the kernel",
        "plain": "",
        "scaled": "Scaled has its own `call`, which may need the kernel",
        "renamed": "",
    }
    assert type(model.get_layer("scaled")) is Scaled
    assert reasons(model)["renamed"] == ""  # nor does the swapped class count as own


class Cell(layers.Layer):
    """A recurrent cell of one Dense."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.state_size = self.output_size = 8
        self.dense = layers.Dense(8, activation="tanh", name="dense")

    def build(self, shape):
        self.dense.build((shape[0], shape[-1] + 8))

    def call(self, x, states):
        h = self.dense(ops.concatenate([x, states[0]], axis=-1))
        return h, [h]


def test_layers_in_loops_are_left_alone():
    model = keras.Sequential(
        [
            keras.Input((5, 8)),
            layers.RNN(Cell(name="cell"), name="rnn", return_sequences=True),
            layers.Bidirectional(layers.GRU(8), name="both"),
            layers.Dense(8, name="head"),
        ]
    )
    found = reasons(model)
    assert found.pop("head") == ""
    assert found["rnn/cell/dense"] == "it runs in the loop of 'rnn'"
    assert len(found) == 3 and all("runs in the loop" in r for r in found.values())
    assert type(model.get_layer("rnn").cell.dense) is layers.Dense


def frozen_base():
    base = keras.Sequential(
        [keras.Input((8,)), dense(8, "one"), dense(8, "two")], name="base"
    )
    base.trainable = False
    model = keras.Sequential([keras.Input((8,)), base, layers.Dense(8, name="head")])
    return model


def test_a_frozen_base_is_not_pruned():
    model = frozen_base()
    assert reasons(model) == {
        "base/one": "frozen: trainable=False",
        "base/two": "frozen: trainable=False",
        "head": "",
    }
    # It computes in int8 like the rest.
    assert [c.path_in_model for c in compressed_layers(model)] == [
        "base/one",
        "base/two",
        "head",
    ]
    assert set(reasons(frozen_base(), prune_frozen=True).values()) == {""}
    assert len(reasons(frozen_base(), strict=True)) == 3  # frozen on purpose


def test_a_frozen_kernel_is_not_pruned():
    model = keras.Sequential([keras.Input((8,)), dense(8, "a"), dense(8, "b")])
    model.layers[0].kernel.trainable = False
    assert reasons(model) == {"a": "frozen: its kernel has trainable=False", "b": ""}


@pytest.mark.parametrize("quantize", [True, False])
def test_what_trains_again_stays_dense_and_says_so(quantize):
    model = frozen_base()
    recipe = qsparse.Recipe(quantize=quantize)
    qsparse.attach(model, recipe)
    phases = Phases(model)
    phases.start(10)
    for done in range(10):
        phases.step(done)
    model.get_layer("base").trainable = True
    with pytest.warns(UserWarning, match="'base/one', 'base/two'.*stay dense"):
        coverage = qsparse.attach(model, recipe)
    assert coverage.layers[0].reason.startswith("it could not be pruned when")
    assert coverage.pruned_share == pytest.approx(1 / 3)


class Distiller(keras.Model):
    def __init__(self, student, teacher):
        super().__init__()
        self.student, self.teacher = student, teacher
        self.teacher.trainable = False

    def call(self, x):
        return self.student(x)


def test_a_teacher_is_never_touched(images):
    x, y = images[0][:64, :8, 8, 0], images[1][:64]
    student, teacher = (
        keras.Sequential(
            [
                keras.Input((8,)),
                dense(8, f"{who}_a"),
                layers.Dense(12, name=f"{who}_b"),
            ],
            name=who,
        )
        for who in ("student", "teacher")
    )
    before = teacher.get_weights()
    model = compiled(Distiller(student, teacher))
    model(x)
    model.fit(x, y, batch_size=16, verbose=0, callbacks=[PruneThenQuantize()])
    for old, new in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert {type(layer) for layer in teacher.layers} == {layers.Dense}
    found = {row.path: row.reason for row in qsparse.coverage(model).layers}
    assert found["teacher/teacher_a"] == "part of frozen model 'teacher'"
    assert found["student/student_a"] == ""


def test_one_block_is_left_alone():
    model = keras.Sequential([keras.Input((8,)), dense(4, "small"), dense(4, "tiny")])
    assert reasons(model) == {
        "small": "",
        "tiny": "every 4 outputs have one 4x4 block only, which has to stay",
    }
    for compression in compressed_layers(model):
        if compression.pattern is not None:
            compression.select_mask(0.75)
    small, tiny = qsparse.coverage(model).layers
    assert (small.sparsity, tiny.sparsity) == (0.5, 0.0)


def test_pure_float16_is_refused():
    model = keras.Sequential(
        [keras.Input((8,)), layers.Dense(8, name="half", dtype="float16")]
    )
    with pytest.raises(ValueError, match="'half'.*float16.*'mixed_float16'"):
        qsparse.attach(model, qsparse.Recipe())


@pytest.mark.filterwarnings("ignore:Layer .* does not have a")
def test_what_keras_quantized_is_said(images, tmp_path):
    model = keras.Sequential([keras.Input((8,)), dense(8, "a"), dense(8, "b")])
    model.layers[0].quantize("int8")
    assert reasons(model) == {"a": "it was quantized by Keras (int8)", "b": ""}
    x = images[0][:32, :8, 8, 0]
    with pytest.raises(ValueError, match="layer 'a' was quantized by Keras .int8."):
        qsparse.export(model, tmp_path / "m.tflite", x)
