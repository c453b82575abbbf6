"""The plan: one answer for every layer, before any is touched."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse import Block, Int8, Magnitude, MovingAverage, Recipe
from qsparse.callbacks import PruneThenQuantize
from qsparse.engine.compressor import compressed_layers, state_of
from qsparse.saving import _as_saved
from tests.conftest import small_cnn


def plans(model, **settings):
    return {plan.path: plan for plan in qsparse.resolve(model, Recipe(**settings))}


def by_kind(model, **settings):
    return {plan.kind: plan for plan in qsparse.resolve(model, Recipe(**settings))}


def test_a_plan_says_everything_and_touches_nothing(cnn):
    before = [type(layer) for layer in cnn.layers]
    found = by_kind(cnn, freeze_statistics_from=0.9)
    assert state_of(cnn) is None
    assert [type(layer) for layer in cnn.layers] == before

    conv = found["Conv2D"]  # the last of them
    assert conv.layout.canonical_shape == (1, 16, 32)
    assert (conv.pattern, conv.sparsity) == (Block(), 0.75)
    assert conv.criterion == Magnitude()
    assert conv.estimator == qsparse.Masked()
    assert conv.weight_format == conv.input_format == Int8()
    assert conv.observer == MovingAverage()
    assert (conv.output_format, conv.reason) == (None, "")
    assert found["Dense"].output_format == Int8()

    depthwise = found["DepthwiseConv2D"]
    assert not depthwise.prunes and depthwise.quantizes
    assert depthwise.reason == "DepthwiseConv2D is not pruned"

    add, norm = found["Add"], found["BatchNormalization"]
    assert (add.weight_format, add.input_format) == (None, Int8())
    assert add.matrices == norm.matrices == ()
    assert norm.freezes_statistics and not norm.quantizes
    assert "ReLU" not in found  # nothing to decide


def test_what_is_left_alone_has_a_reason_and_weights():
    model = keras.Sequential(
        [
            keras.Input((5, 8)),
            layers.LSTM(8, name="lstm"),
            layers.Dense(8, name="odd"),
            layers.Dense(3, name="head"),
        ]
    )
    found = plans(model, exclude="odd")
    cell = found["lstm/lstm_cell"]
    assert [m.name for m in cell.matrices] == ["kernel", "recurrent_kernel"]
    assert cell.reason.startswith("it runs in the loop of 'lstm'")
    assert found["odd"].reason == "excluded by the recipe"
    assert found["head"].reason == "3 outputs are not divisible by 4"
    compressed = {path for path, plan in found.items() if plan.compresses}
    assert compressed == {"head"}  # quantized, that is


def test_attaching_executes_the_plan_and_coverage_prints_it(cnn):
    recipe = Recipe(pattern="unstructured", sparsity=0.5)
    wanted = {p.path: p for p in qsparse.resolve(cnn, recipe)}
    rows = qsparse.attach(cnn, recipe).layers
    children = compressed_layers(cnn)
    assert {c.path_in_model for c in children} == {
        path for path, plan in wanted.items() if plan.weight_format is not None
    }
    for child in children:
        assert child.plan == wanted[child.path_in_model]
    for row in rows:
        assert row.reason == wanted[row.path].reason
        assert row.shape == wanted[row.path].matrices[0].shape
    # Resolving again answers the same.
    assert {p.path: p for p in qsparse.resolve(cnn, recipe)} == wanted


def test_what_a_second_recipe_adds_is_added_to_the_plan(cnn, images):
    x, y = images[0][:100], images[1][:100]
    cnn.fit(x, y, verbose=0, callbacks=[qsparse.callbacks.Prune("2:4")])
    before = compressed_layers(cnn)[0].plan
    cnn.fit(x, y, verbose=0, callbacks=[qsparse.callbacks.Quantize()])
    plan = next(
        c.plan for c in compressed_layers(cnn) if c.path_in_model == before.path
    )
    assert (plan.pattern, plan.sparsity) == (qsparse.NM(2, 4), 0.5)
    assert before.weight_format is None and plan.weight_format == Int8()


@pytest.mark.parametrize(
    "damage", [b"{}", b"[", b"3", b'{"sparsity": 0.5, "pattern": 1}']
)
def test_a_damaged_plan_in_a_file(damage, images, tmp_path):
    import h5py

    model, path = small_cnn(), tmp_path / "m.weights.h5"
    model.fit(
        images[0][:50], images[1][:50], verbose=0, callbacks=[PruneThenQuantize()]
    )
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        variables = file["layers/conv2d_1/qsparse/vars"]
        del variables["plan"]
        variables["plan"] = np.frombuffer(damage, np.uint8)
    with pytest.raises(ValueError, match="plan of layer 'conv2d.*cannot be used"):
        qsparse.load_weights(small_cnn(), path)


def saved_plan(**changes):
    """Return the plan of a pruned layer, and what a file holds of it with changes."""
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8, name="hidden")])
    plan = plans(model, pattern="unstructured", sparsity=0.5)["hidden"]
    return plan, plan.to_dict() | changes


@pytest.mark.parametrize("sparsity", [0, 0.0, 0.25, 0.999])
def test_a_plan_in_a_file_may_have_any_share_of_zeros(sparsity):
    plan, saved = saved_plan(sparsity=sparsity)
    assert _as_saved(plan, json.dumps(saved).encode(), True).sparsity == sparsity


@pytest.mark.parametrize("sparsity", [float("nan"), 1, -0.1, 2.5, True, "0.5", None])
def test_a_plan_in_a_file_with_no_share_of_zeros_is_refused(sparsity):
    plan, saved = saved_plan(sparsity=sparsity)
    with pytest.raises(ValueError, match="layer 'hidden'.* in \\[0, 1\\)"):
        _as_saved(plan, json.dumps(saved).encode(), True)


def test_a_plan_in_a_file_whose_pattern_does_not_fit_is_refused():
    pattern = qsparse.methods.REGISTRIES["pattern"].to_dict(Block((16, 4)))
    plan, saved = saved_plan(pattern=pattern)
    with pytest.raises(ValueError, match="layer 'hidden'.*8 outputs are not divisible"):
        _as_saved(plan, json.dumps(saved).encode(), True)


def test_a_pattern_of_the_user_may_count_in_any_numbers():
    plan, _ = saved_plan()
    for zeros in (0, np.float32(0.5), np.int64(0)):
        saved = replace(plan, sparsity=zeros).to_dict()
        assert _as_saved(plan, json.dumps(saved).encode(), True).sparsity == zeros


@pytest.mark.parametrize(
    ("settings", "estimator"),
    [
        ({"pattern": "2:4"}, qsparse.STE()),
        ({"pattern": "2:4 of 4x4"}, qsparse.STE()),
        ({"pattern": "1:4"}, qsparse.Masked()),
        ({"pattern": "4:16"}, qsparse.Masked()),
        ({"pattern": "4x4", "sparsity": 0.3}, qsparse.Masked()),
        ({"pattern": "unstructured", "sparsity": 0.9}, qsparse.Masked()),
        ({"pattern": "4x4", "regrowth": "rigl"}, qsparse.STE()),
        ({"pattern": "4x4", "regrowth": "set"}, qsparse.Masked()),
        ({"pattern": "4x4", "criterion": "movement"}, qsparse.STE()),
        ({"pattern": "4x4", "criterion": "random"}, qsparse.Masked()),
        ({"pattern": "4x4", "criterion": "wanda"}, qsparse.Masked()),
        ({"pattern": "4x4", "estimator": "sr-ste"}, qsparse.SRSTE()),
    ],
)
def test_the_estimator_is_what_was_best_unless_one_is_named(settings, estimator):
    """Named or not, it stands in the plan; a recipe keeps that nobody named it."""
    recipe = qsparse.Recipe(**settings)
    assert (recipe.estimator is None) is ("estimator" not in settings)
    assert qsparse.Recipe.from_dict(recipe.to_dict()) == recipe
    plans = [plan for plan in qsparse.resolve(small_cnn(), recipe) if plan.prunes]
    assert plans and all(plan.estimator == estimator for plan in plans)


def test_each_layer_has_the_estimator_of_its_own_pattern():
    rules = [qsparse.Rule("conv2d_*", pattern="2:4")]
    plans = qsparse.resolve(small_cnn(), qsparse.Recipe(rules=rules))
    found = {type(plan.pattern): plan.estimator for plan in plans if plan.prunes}
    assert found == {qsparse.NM: qsparse.STE(), qsparse.Block: qsparse.Masked()}
