"""Callbacks: phases, logs, orders, and what bad input gets."""

import csv

import keras
import numpy as np
import pytest

import qsparse
from qsparse.callbacks import (
    Joint,
    Prune,
    PruneThenQuantize,
    Quantize,
    QuantizeThenPrune,
)
from qsparse.engine.compressor import compressed_layers, state_of
from tests import oracles
from tests.conftest import compiled


def _fit(model, images, callbacks, **settings):
    settings = {"epochs": 2, "batch_size": 50, "verbose": 0, **settings}
    return model.fit(*images, callbacks=callbacks, **settings)


@pytest.fixture
def few(images):
    return images[0][:500], images[1][:500]


@pytest.mark.parametrize(
    ("callback", "phases"),
    [
        (PruneThenQuantize(), [1, 3]),
        (QuantizeThenPrune(), [3, 3]),
        (Joint(update_every=2), [3, 3]),
        (Prune("unstructured", 0.9), [1, 1]),
        (Prune(qsparse.NM(2, 4)), [1, 1]),
        (Quantize(), [2, 2]),
    ],
)
def test_phases(cnn, few, callback, phases):
    history = _fit(cnn, few, [callback]).history
    assert history["phase"] == phases
    recipe = callback.recipe
    if recipe.pattern is None:
        assert "sparsity" not in history
    else:
        assert history["sparsity"][-1] == pytest.approx(recipe.sparsity, abs=2e-3)
        assert 0.0 <= history["mask_flips"][-1] <= 1.0
    for layer in compressed_layers(cnn):
        mask = layer.canonical_mask()
        if mask is not None:
            weights = layer.master()
            if recipe.order == "Q->S":
                assert state_of(cnn).quantizing.numpy()
            expected = recipe.sparsity * mask.size
            assert np.count_nonzero(~mask) == pytest.approx(expected, abs=8)
            effective = layer.layout.canonical(
                keras.ops.convert_to_numpy(layer.effective_kernel())
            )
            assert (effective[~mask] == 0).all()
            oracle = {
                ("S->Q", True): oracles.s_then_q,
                ("Q->S", True): oracles.q_then_s,
                ("S->Q", False): np.multiply,
            }[recipe.order, recipe.quantize]
            np.testing.assert_array_equal(effective, oracle(weights, mask))


def test_masks_freeze_after_pruning(cnn, few):
    seen = {}

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            step = int(self.model.optimizer.iterations.numpy()) - 1
            masks = [c.canonical_mask() for c in compressed_layers(self.model)]
            seen[step] = np.concatenate([m.ravel() for m in masks if m is not None])

    _fit(cnn, few, [PruneThenQuantize(update_every=7), Watch()])
    sparsities = [1.0 - mask.mean() for _, mask in sorted(seen.items())]
    assert sparsities == sorted(sparsities)
    assert sparsities[0] == 0.0
    assert sparsities[10] == pytest.approx(0.75, abs=0.01)
    for step in range(10, 20):
        np.testing.assert_array_equal(seen[step], seen[10])
    assert (seen[9] != seen[10]).any()


def test_logs_reach_csv_and_progress_bar(cnn, few, tmp_path, capsys):
    log = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    _fit(cnn, few, [PruneThenQuantize(), log], verbose=2)
    with open(tmp_path / "log.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["phase"]) for row in rows] == [1.0, 3.0]
    assert float(rows[-1]["sparsity"]) == pytest.approx(0.75)
    printed = capsys.readouterr().out
    assert "sparsity: 0.75" in printed
    assert "mask_flips" in printed


def test_phases_count_from_where_compression_began(cnn, few):
    _fit(cnn, few, [], epochs=1)
    assert _fit(cnn, few, [PruneThenQuantize()]).history["phase"] == [1.0, 3.0]


def test_fitting_on_keeps_the_masks(cnn, few):
    _fit(cnn, few, [PruneThenQuantize()])
    masks = [c.canonical_mask() for c in compressed_layers(cnn)]
    again = _fit(cnn, few, [PruneThenQuantize()]).history
    assert again["phase"] == [3.0, 3.0]
    for before, compression in zip(masks, compressed_layers(cnn), strict=True):
        np.testing.assert_array_equal(before, compression.canonical_mask())


@pytest.mark.parametrize(
    ("compile_settings", "optimizer_settings"),
    [
        ({"steps_per_execution": 4}, {}),
        ({"run_eagerly": True}, {}),
        ({"jit_compile": True}, {}),
        ({}, {"gradient_accumulation_steps": 2}),
    ],
    ids=["steps_per_execution", "eager", "xla", "gradient accumulation"],
)
def test_ways_to_train(cnn, few, compile_settings, optimizer_settings):
    cnn.compile(
        keras.optimizers.Adam(1e-3, **optimizer_settings),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **compile_settings,
    )
    x, y = few[0][:300], few[1][:300]
    history = _fit(cnn, (x, y), [PruneThenQuantize()], batch_size=25).history
    assert history["phase"][-1] == 3.0
    assert history["sparsity"][-1] == pytest.approx(0.75)
    assert state_of(cnn).time().pruning.total == 24


def test_training_that_ends_early_says_so(cnn, few):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 4

    with pytest.warns(
        UserWarning, match=r"float, [\d.]+% of 75.0% sparse, as of step 4.*before"
    ):
        _fit(cnn, few, [PruneThenQuantize(), Stop()])


def test_another_recipe_needs_strip_first(cnn, few):
    _fit(cnn, few, [Prune()], epochs=1)
    with pytest.raises(ValueError, match="another recipe: sparsity differ.*strip"):
        _fit(cnn, few, [Prune(sparsity=0.5)], epochs=1)
    qsparse.strip(cnn)
    with pytest.warns(UserWarning, match="are zero, but it has no masks"):
        _fit(cnn, few, [Quantize()], epochs=1)


def test_no_compressible_layer(few):
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten()])
    with pytest.raises(ValueError, match="no layer to compress.*Dense"):
        qsparse.attach(model, qsparse.Recipe())
    assert state_of(model) is None


def test_pattern_that_fits_nowhere(few):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, name="odd")])
    with pytest.raises(ValueError, match="'odd': 6 inputs are not divisible by 4"):
        qsparse.attach(model, qsparse.Recipe())
    assert type(model.layers[0]) is keras.layers.Dense


def test_a_recipe_that_never_began_may_be_replaced(cnn, few):
    with pytest.raises(ValueError, match="`prune_until` is step 1000"):
        _fit(cnn, few, [Prune(prune_until=1000)])
    assert _fit(cnn, few, [Prune(prune_until=10)]).history["phase"] == [1.0, 1.0]


@pytest.mark.parametrize("phase", [{"prune_from": 15}, {"prune_from": 0.9}])
def test_mixed_moments_in_the_wrong_order(cnn, few, phase):
    until = {"prune_until": 5} if phase["prune_from"] == 0.9 else {}
    with pytest.raises(ValueError, match="must not end before it begins"):
        _fit(cnn, few, [Prune(**phase, **until)])


def test_a_new_optimizer_does_not_stop_the_clock(cnn, few):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 4

    _fit(cnn, few, [], epochs=2)
    with pytest.warns(UserWarning, match="not carried out"):
        _fit(cnn, few, [PruneThenQuantize(), Stop()])
    compiled(cnn)
    history = _fit(cnn, few, [PruneThenQuantize()]).history
    assert history["sparsity"][-1] == pytest.approx(0.75)
    assert history["phase"][-1] == 3.0


def test_restored_weights_bring_their_phase(cnn, few):
    """Early stopping that goes back before quantization is told, not hidden."""
    best_is_first = keras.callbacks.EarlyStopping(
        "loss", mode="max", patience=9, restore_best_weights=True
    )
    with pytest.warns(UserWarning, match="the model is float"):
        _fit(cnn, few, [best_is_first, PruneThenQuantize()], epochs=4)
    assert not state_of(cnn).quantizing.numpy()


def test_misfit_is_reported_or_raised(cnn):
    with pytest.raises(ValueError, match="strict=True.*1 inputs are not divisible"):
        qsparse.attach(cnn, qsparse.Recipe(strict=True))
    assert state_of(cnn) is None
    assert type(cnn.layers[1]) is keras.layers.Conv2D
    coverage = qsparse.attach(cnn, qsparse.Recipe())
    reasons = {row.kind: row.reason for row in coverage.layers}
    assert reasons["DepthwiseConv2D"] == "DepthwiseConv2D is not pruned"
    assert "1 inputs are not divisible by 4" in str(coverage)


def test_excluded_layers_stay_plain(cnn):
    coverage = qsparse.attach(cnn, qsparse.Recipe(exclude="dense*"))
    (dense,) = (row for row in coverage.layers if row.kind == "Dense")
    assert dense.reason == "excluded by the recipe"
    assert dense.format == "float"


def test_nan_loss(cnn, few):
    cnn.compile("adam", lambda labels, logits: keras.ops.mean(logits) * np.nan)
    with pytest.raises(ValueError, match="The loss is nan at step 1 of model"):
        _fit(cnn, few, [PruneThenQuantize()])


def test_nan_weights(cnn, few):
    qsparse.attach(cnn, qsparse.Recipe())
    layer = compressed_layers(cnn)[1]
    weights = layer.owner().get_weights()
    weights[0][0, 0, 0, 0] = np.nan
    layer.owner().set_weights(weights)
    with pytest.raises(ValueError, match=f"'{layer.owner().name}' has NaN"):
        layer.select_mask(0.5)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_unknown_length_needs_steps(cnn, few):
    def batches():
        for start in range(0, 500, 50):
            yield few[0][start : start + 50], few[1][start : start + 50]

    settings = {"epochs": 1, "shuffle": False, "verbose": 0}
    with pytest.raises(ValueError, match="length of an epoch is unknown"):
        cnn.fit(batches(), callbacks=[PruneThenQuantize()], **settings)
    qsparse.strip(cnn)
    in_steps = PruneThenQuantize(prune_from=0, prune_until=6, quantize_from=6)
    history = cnn.fit(batches(), callbacks=[in_steps], **settings).history
    assert history["phase"] == [3.0]


def test_phase_after_the_end(cnn, few):
    late = PruneThenQuantize(prune_from=0, prune_until=100)
    with pytest.raises(ValueError, match="`prune_until` is step 100.*after 20 steps"):
        _fit(cnn, few, [late])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(few, policy):
    from tests.conftest import small_cnn

    keras.config.set_dtype_policy(policy)
    try:
        model = small_cnn()
    finally:
        keras.config.set_dtype_policy("float32")
    history = _fit(model, few, [PruneThenQuantize()]).history
    assert np.isfinite(history["loss"]).all()
    assert history["sparsity"][-1] == pytest.approx(0.75)
    conv = compressed_layers(model)[1]
    assert conv.master().dtype == np.float32
