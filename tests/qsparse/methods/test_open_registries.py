"""Methods from outside the package: one class and one line each."""

import json
from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import pytest
from keras import ops

import qsparse
from qsparse.callbacks import Joint, Prune, PruneThenQuantize
from qsparse.engine.compressor import compressed_layers, state_of
from qsparse.methods import REGISTRIES
from tests import perceptron
from tests.perceptron import mlp

pytestmark = pytest.mark.filterwarnings("ignore:Skipping variable loading for opt")


@pytest.fixture(autouse=True)
def forgotten():
    """Leave the registries as they were."""
    before = {kind: dict(r.classes) for kind, r in REGISTRIES.items()}
    yield
    for kind, registry in REGISTRIES.items():
        registry.classes = before[kind]


def fit(model, data, callback):
    return perceptron.fit(model, data, [callback]).history


def survives_json(recipe):
    return qsparse.Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def saved_and_loaded(model, tmp_path, x):
    model.save(tmp_path / "m.keras")
    again = qsparse.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(
        again.predict(x, verbose=0), model.predict(x, verbose=0)
    )
    for ours, theirs in zip(
        compressed_layers(model), compressed_layers(again), strict=True
    ):
        assert ours.plan == theirs.plan
    return again


def test_a_criterion(pixels, tmp_path):
    @qsparse.register("criterion", "near")
    @dataclass(frozen=True)
    class Near:
        """Keeps the weights next to a value."""

        value: float = 0.0

        def score(self, weights):
            return 1.0 / (1.0 + np.abs(weights - self.value))

    model = mlp()
    callback = Prune("unstructured", 0.5, criterion=Near(0.2), schedule="one-shot")
    fit(model, pixels, callback)
    assert survives_json(callback.recipe)
    assert survives_json(qsparse.Recipe(criterion="near"))
    for layer in compressed_layers(saved_and_loaded(model, tmp_path, pixels[0])):
        assert layer.plan.criterion == Near(0.2)
        layer.select_mask(0.5)
        expected = qsparse.Unstructured().mask(Near(0.2).score(layer.master()), 0.5)
        np.testing.assert_array_equal(layer.canonical_mask(), expected)

    del REGISTRIES["criterion"].classes["near"]
    with pytest.raises(
        ValueError, match="recipe in .* cannot be used: Unknown criterion"
    ):
        qsparse.load_model(tmp_path / "m.keras")


@pytest.mark.parametrize("wrong", ["shape", "nan"])
def test_a_criterion_that_is_wrong_is_told(wrong, pixels):
    @qsparse.register("criterion", "wrong")
    @dataclass(frozen=True)
    class Wrong:
        def score(self, weights):
            return weights[0] if wrong == "shape" else weights * np.nan

    with pytest.raises(ValueError, match="Wrong.score must return finite.*'hidden'"):
        fit(mlp(), pixels, Prune(criterion="wrong"))


def test_an_estimator(pixels, tmp_path):
    @qsparse.register("estimator", "decaying")
    @dataclass(frozen=True)
    class Decaying:
        """Pruned weights fade out while pruning goes on."""

        def __call__(self, weights, mask, progress):
            rest = ops.cast(1.0 - progress, weights.dtype)
            return weights * (mask + (1.0 - mask) * rest)

        def correction(self, weights, mask):
            return None

    seen = {}

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            layer = compressed_layers(self.model)[0]
            kernel = layer.effective_kernel().numpy()
            seen[len(seen)] = (
                state_of(self.model).progress.numpy(),
                (kernel == 0).mean(),
            )

    model, callback = mlp(), Prune(estimator="decaying", schedule="constant")
    settings = {"batch_size": 25, "verbose": 0, "shuffle": False, "epochs": 2}
    model.fit(*pixels, callbacks=[callback, Watch()], **settings)
    # Half of 20 steps prune; before their end nothing is quite zero.
    for step, (progress, zeros) in seen.items():
        assert progress == np.float32(min(step / 10, 1.0)), step
        assert zeros == (0.75 if step >= 10 else 0.0), step
    assert survives_json(callback.recipe)
    again = saved_and_loaded(model, tmp_path, pixels[0])
    assert state_of(again).progress.numpy() == 1.0


def test_a_schedule_that_is_a_subclass(pixels):
    @qsparse.register("schedule", "square")
    @dataclass(frozen=True)
    class Square(qsparse.Cubic):
        power: float = 2.0

    recipe = qsparse.Recipe(schedule="square")
    assert recipe.schedule == Square() and survives_json(recipe)
    assert recipe.schedule.sparsity(5, 0, 10, 0.8) == pytest.approx(0.6)
    assert fit(mlp(), pixels, Prune(schedule=Square(0.5)))["sparsity"][-1] == 0.75


def test_an_allocation(pixels, tmp_path):
    @qsparse.register("allocation", "first-dense")
    @dataclass(frozen=True)
    class FirstDense:
        def allocate(self, kernels, sparsity):
            assert [k.path for k in kernels] == ["hidden", "head"]
            assert [k.shape for k in kernels] == [(1, 16, 32), (1, 32, 12)]
            return [sparsity / 2, sparsity]

    model = mlp()
    callback = Prune("unstructured", 0.5, allocation=FirstDense())
    fit(model, pixels, callback)
    assert [row.sparsity for row in callback.coverage.layers] == [0.25, 0.5]
    again = saved_and_loaded(model, tmp_path, pixels[0])
    assert [c.plan.sparsity for c in compressed_layers(again)] == [0.25, 0.5]
    # The file knows what its layers were compressed with, whatever an allocation
    # would say today.
    FirstDense.allocate = lambda self, kernels, sparsity: [sparsity] * 2
    again = qsparse.load_model(tmp_path / "m.keras")
    assert [c.plan.sparsity for c in compressed_layers(again)] == [0.25, 0.5]


def test_a_format(pixels, tmp_path):
    @qsparse.register("format", "coarse")
    @dataclass(frozen=True)
    class Coarse(qsparse.Int8):
        """Weights of five values."""

        exportable: ClassVar[bool] = False

        def fake(self, canonical):
            scale = ops.max(ops.abs(canonical), axis=(0, 1)) / 2
            return ops.round(canonical / scale) * scale

        def encode(self, canonical):
            scale = np.abs(canonical).max(axis=(0, 1)) / np.float32(2)
            return np.round(canonical / scale).astype(np.int8), scale

    model, callback = mlp(), Joint("unstructured", 0.5, format="coarse")
    fit(model, pixels, callback)
    assert survives_json(callback.recipe)
    saved_and_loaded(model, tmp_path, pixels[0])
    for layer in compressed_layers(model):
        q, scale = layer.canonical_integers()
        assert set(np.unique(q)) <= {-2, -1, 0, 1, 2}
        kernel = layer.layout.canonical(layer.effective_kernel().numpy())
        np.testing.assert_array_equal(kernel, Coarse().decode(q, scale))
    with pytest.raises(
        ValueError, match="'hidden' trains in coarse, which cannot be exp"
    ):
        qsparse.export(model, tmp_path / "m.tflite", pixels[0])


def test_an_observer(pixels):
    @qsparse.register("observer", "extremes")
    @dataclass(frozen=True)
    class Extremes:
        def moved(self, before, seen):
            return ops.maximum(before, seen)

    model = mlp()
    fit(model, pixels, PruneThenQuantize(observer="extremes", quantize_from=0.0))
    low, high = compressed_layers(model)[0].input_quantizer.ranges.numpy()[0]
    assert (low, high) == (0.0, pixels[0].max())


def test_a_pattern(pixels):
    @qsparse.register("pattern", "columns")
    @dataclass(frozen=True)
    class Columns:
        """Every other input, from the one that matters more."""

        def mask(self, scores, sparsity):
            totals = scores.sum(axis=(0, 2))
            first = int(totals[1::2].sum() > totals[::2].sum())
            mask = np.zeros(scores.shape, bool)
            mask[:, first::2] = True
            return mask

        def misfit(self, shape):
            return "an odd number of inputs" if shape[1] % 2 else None

        def final_sparsity(self, sparsity):
            return 0.5

    recipe = qsparse.Recipe(pattern="columns")
    assert recipe.sparsity == 0.5 and survives_json(recipe)
    assert fit(mlp(), pixels, Prune(Columns()))["sparsity"] == [0.5, 0.5]


def test_what_cannot_be_registered():
    @dataclass
    class Mutable:
        def score(self, weights):
            return weights

    class Plain:
        def score(self, weights):
            return weights

    @dataclass(frozen=True)
    class Empty:
        pass

    @dataclass(frozen=True)
    class Fine(Empty):
        def score(self, weights):
            return weights

    for cls, message in (
        (Mutable, "a criterion is a frozen dataclass|A criterion is a frozen"),
        (Plain, "A criterion is a frozen dataclass.*above Plain"),
        (Empty, "Empty cannot be a criterion: it has no `score`"),
    ):
        with pytest.raises(ValueError, match=message):
            qsparse.register("criterion", "mine")(cls)
    with pytest.raises(ValueError, match="'magnitude' is qsparse.*another name"):
        qsparse.register("criterion", "magnitude")(Fine)
    with pytest.raises(ValueError, match="`kind` must be one of.*'criterion'"):
        qsparse.register("criteria", "mine")

    assert qsparse.register("criterion", "mine")(Fine) is Fine
    qsparse.register("criterion", "mine")(Fine)  # as a cell that runs again

    @dataclass(frozen=True)
    class Own(qsparse.Cubic):
        pass

    with pytest.raises(ValueError, match='Own is no registered schedule.*"schedule"'):
        qsparse.Recipe(schedule=Own())
