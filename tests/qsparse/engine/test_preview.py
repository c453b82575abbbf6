"""A preview says what training then does, and touches nothing."""

import json

import keras
import numpy as np
import pytest

import qsparse
from qsparse import Recipe, Rule
from qsparse.callbacks import PruneThenQuantize
from qsparse.engine.compressor import compressed_layers
from tests import perceptron
from tests.conftest import small_cnn
from tests.perceptron import mlp

RULES = [
    Rule("conv*", pattern="unstructured", sparsity=0.3),
    Rule(role="last", pattern="2:4", quantize=False),
]


def test_training_does_what_the_preview_says(images):
    model = small_cnn()
    weights, classes = model.get_weights(), [type(layer) for layer in model.layers]
    callback = PruneThenQuantize("2:4", rules=RULES)
    shown = qsparse.preview(model, callback)
    assert [type(layer) for layer in model.layers] == classes
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)

    x, y = images[0][:200], images[1][:200]
    model.fit(x, y, batch_size=20, epochs=11, verbose=0, callbacks=[callback])
    assert callback.coverage == shown
    assert qsparse.coverage(model) == shown
    for child in compressed_layers(model):
        (row,) = (r for r in shown.layers if r.path == child.path_in_model)
        kernel = child.effective_kernel().numpy()
        if child.pattern is not None:
            mask = child.canonical_mask()
            assert row.sparsity == 1 - np.count_nonzero(mask) / mask.size > 0.25
            assert (kernel[~child.layout.kernel(mask)] == 0).all()
        assert (row.format == "int8") == (child.input_quantizer is not None)
    # What a rule keeps in float has no grid.
    head = compressed_layers(model)[-1]
    assert head.plan.rules == (2,) and head.input_quantizer is None
    kept = head.effective_kernel().numpy()
    np.testing.assert_array_equal(kept[kept != 0], head.values()[kept != 0])


def test_macs_are_those_of_the_layers():
    model = keras.Sequential(
        [
            keras.Input((10, 8, 3)),
            keras.layers.Conv2D(4, 3, strides=2, padding="same", name="conv"),
            keras.layers.DepthwiseConv2D((3, 1), name="depth"),
            keras.layers.Reshape((12, 4)),
            keras.layers.Dense(8, name="each"),
            keras.layers.EinsumDense("abc,cde->abde", (12, 2, 8), name="split"),
        ]
    )
    shown = qsparse.preview(model, Recipe("unstructured", 0.5))
    macs = {row.path: row.macs for row in shown.layers}
    assert macs == {
        "conv": 5 * 4 * 3 * 3 * 3 * 4,
        "depth": 3 * 4 * 3 * 4,
        "each": 12 * 4 * 8,
        "split": 12 * 8 * 16,
    }
    assert shown.macs == sum(macs.values())
    assert shown.macs_left == shown.macs / 2 + macs["depth"] / 2
    assert shown.to_dict()["macs_left"] == shown.macs_left


def test_the_table_says_it_all(cnn):
    text = str(qsparse.preview(cnn, Recipe("4x4", rules=RULES)))
    lines = text.splitlines()
    assert lines[0].split() == "layer kernel pattern zeros MACs trains in".split()
    assert any("unstructured" in line and "30.0%" in line for line in lines)
    assert "MACs are left." in text
    json.dumps(qsparse.preview(cnn, Recipe(rules=RULES)).to_dict())
    both = [Rule("*", sparsity=0.5), *RULES]
    text = str(qsparse.preview(cnn, Recipe("4x4", rules=both)))
    assert "sparsity: rule 2 overrules rule 1 in conv" in text


def test_what_is_no_recipe_or_not_built_is_refused():
    with pytest.raises(ValueError, match="preview takes a qsparse.Recipe or a callb"):
        qsparse.preview(mlp(), "4x4")
    with pytest.raises(ValueError, match="is not built"):
        qsparse.preview(keras.Sequential([keras.layers.Dense(4)]), Recipe())


def test_rules_come_back_with_the_file(pixels, tmp_path):
    model = mlp()
    rules = [
        Rule("hidden", pattern="2:4"),
        Rule("head", leave_alone=True),
    ]
    callback = PruneThenQuantize("4x4", rules=rules)
    perceptron.fit(model, pixels, [callback], epochs=12)
    model.save(tmp_path / "m.keras")
    again = qsparse.load_model(tmp_path / "m.keras")
    assert qsparse.coverage(again) == callback.coverage
    # Going on with the same recipe changes nothing; another one is refused.
    again.compile("adam", model.loss)
    perceptron.fit(again, pixels, [PruneThenQuantize("4x4", rules=rules)], epochs=1)
    with pytest.raises(ValueError, match="another recipe: rules differ"):
        qsparse.attach(again, Recipe("4x4", rules=rules[:1]))
    model.save_weights(tmp_path / "m.weights.h5")
    other = mlp()
    qsparse.attach(other, Recipe("4x4", rules=rules[:1]))
    with pytest.raises(ValueError, match="rules differ"):
        other.load_weights(tmp_path / "m.weights.h5")


def test_a_second_recipe_brings_rules_of_its_own(pixels):
    model = mlp()
    prune = qsparse.callbacks.Prune("4x4", rules=[Rule("head", sparsity=0.5)])
    perceptron.fit(model, pixels, [prune], epochs=12)
    quantize = qsparse.callbacks.Quantize(rules=[Rule("hidden", quantize=False)])
    perceptron.fit(model, pixels, [quantize], epochs=12)
    hidden, head = quantize.coverage.layers
    assert (hidden.sparsity, hidden.format) == (0.75, "float")
    assert (head.sparsity, head.format) == (0.5, "int8")


@pytest.mark.parametrize("quantize", [True, False])
def test_a_file_knows_its_layers_whatever_they_are_called(quantize, pixels, tmp_path):
    def build(name):
        body = keras.layers.Dense(16, "relu", name=name)
        model = keras.Sequential([keras.Input((16,)), body, keras.layers.Dense(12)])
        model.compile("adam", mlp().loss)
        return model

    model = build("one")
    recipe = Recipe(None, quantize=quantize, rules=[Rule("one", pattern="4x4")])
    perceptron.fit(model, pixels, [qsparse.callbacks.Compress(recipe)], epochs=12)
    model.save_weights(tmp_path / "m.weights.h5")
    other = build("other")
    other.optimizer.build(other.trainable_variables)
    qsparse.load_weights(other, tmp_path / "m.weights.h5")
    for a, b in zip(compressed_layers(model), compressed_layers(other), strict=True):
        assert a.pattern == b.pattern and a.plan.sparsity == b.plan.sparsity
        np.testing.assert_array_equal(a.mask(), b.mask())
    perceptron.fit(other, pixels, [qsparse.callbacks.Compress(recipe)], epochs=1)
    assert (compressed_layers(other)[0].effective_kernel().numpy() == 0).mean() >= 0.75


def test_rules_that_would_not_be_carried_out_are_refused(pixels):
    model = mlp()
    prune = qsparse.callbacks.Prune("4x4", 0.5)
    perceptron.fit(model, pixels, [prune], epochs=12)
    with pytest.raises(ValueError, match="another recipe: rules differ"):
        qsparse.attach(model, Recipe("4x4", 0.5, rules=[Rule("head", sparsity=0.25)]))


def test_layers_kept_in_float_are_scored_and_written_in_float(pixels):
    rules = [Rule("hidden", quantize=False)]
    callback = qsparse.callbacks.QuantizeThenPrune("unstructured", 0.5, rules=rules)
    model = mlp()
    perceptron.fit(model, pixels, [callback], epochs=12)
    hidden, head = compressed_layers(model)
    scores = hidden.ranking.scores()
    np.testing.assert_array_equal(scores, np.abs(hidden.master()))
    for layer, rounds in ((hidden, False), (head, True)):
        layer.fix(on_grid=False)
        assert (layer.fixed.integers is not None) == rounds
        layer.release()


def test_scores_are_those_of_now_for_a_layer_that_loses_nothing(pixels):
    model = mlp()
    model.layers[0].kernel.assign(model.layers[0].kernel * 100)
    settings = {"allocation": "global", "update_every": 1}
    callback = qsparse.callbacks.Prune("unstructured", 0.02, **settings)
    perceptron.fit(model, pixels, [callback], epochs=12)
    hidden, head = compressed_layers(model)
    assert hidden.canonical_mask().all() and not head.canonical_mask().all()
    np.testing.assert_array_equal(hidden.ranking.scores(), np.abs(hidden.master()))
