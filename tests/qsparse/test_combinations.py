"""Methods beside one another, and beside what Keras' trainers and optimizers do."""

import os

import keras
import numpy as np
import pytest

import qsparse
from qsparse import CAST, DecayingMask, RigL, SoftShrinkage
from qsparse.callbacks import Joint, Prune, QuantizeThenPrune
from qsparse.engine.compressor import compressed_layers
from qsparse.engine.state import state_of
from qsparse.keras_compat import slots_of
from tests import perceptron
from tests.perceptron import fit

STEPS = 20


def mlp(seed=3, optimizer=None, **settings):
    """Return a perceptron that is not compiled by XLA, which would take most time."""
    model = perceptron.mlp(seed)
    made = keras.optimizers.Adam(1e-2) if optimizer is None else optimizer
    model.compile(made, model.loss, **{"jit_compile": False, **settings})
    return model


def masks_of(model):
    return {c.path_in_model: c.canonical_mask() for c in compressed_layers(model)}


def zeros_of(model):
    return {path: int((~mask).sum()) for path, mask in masks_of(model).items()}


def assert_sparse(model, sparsity=0.5, unit=1):
    """Every layer's count is exact, and what it computes with is zero where pruned."""
    for layer in compressed_layers(model):
        mask = layer.canonical_mask()
        assert abs((~mask).sum() - sparsity * mask.size) <= unit / 2
        kernel = layer.layout.canonical(np.asarray(layer.effective_kernel()))
        assert (kernel[~mask] == 0).all() and (kernel[mask] != 0).mean() > 0.9


class Watch(keras.callbacks.Callback):
    """Notes, after each step, masks and weights."""

    def __init__(self):
        super().__init__()
        self.masks, self.kernels = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.masks.append(masks_of(self.model))
        self.kernels.append(
            {c.path_in_model: c.master() for c in compressed_layers(self.model)}
        )


# --- schedules, allocations and regrowth ----------------------------------------------


@pytest.mark.parametrize("regrowth", ["rigl", "set"])
def test_frames_of_groups_do_not_regrow(regrowth):
    model = mlp()
    recipe = qsparse.Recipe("2:4", schedule="sdgf", estimator="ste", regrowth=regrowth)
    with pytest.raises(ValueError, match="'hidden' has regrowth=.*or another pattern."):
        qsparse.attach(model, recipe)
    assert state_of(model) is None


@pytest.mark.parametrize("regrowth", ["rigl", "set"])
def test_masks_regrow_while_sparsity_grows(regrowth, pixels):
    watch, model = Watch(), mlp()
    settings = {"estimator": "ste", "update_every": 3, "prune_until": 0.75}
    callback = Prune("unstructured", 0.5, regrowth=regrowth, **settings)
    fit(model, pixels, [callback, watch])
    assert_sparse(model)
    schedule, moved, grown = callback.recipe.schedule, 0, 0
    for step in range(1, STEPS):
        for path, mask in watch.masks[step].items():
            before = watch.masks[step - 1][path]
            if (mask == before).all():
                continue
            wanted = schedule.sparsity(step, 0, 15, 0.5) * mask.size
            assert abs((~mask).sum() - wanted) <= 1
            assert mask.sum() <= before.sum()
            moved += 1
            grown += int((mask & ~before).sum())
    assert moved >= 6 and grown > 10


@pytest.mark.parametrize("schedule", ["constant", "cubic"])
@pytest.mark.parametrize("allocation", ["global", "lamp", "erk"])
def test_masks_regrow_within_a_total(allocation, schedule, pixels):
    watch, model = Watch(), mlp()
    settings = {"estimator": "ste", "update_every": 3, "prune_until": 0.75}
    settings |= {"regrowth": RigL(), "allocation": allocation, "schedule": schedule}
    fit(model, pixels, [Prune("unstructured", 0.5, **settings), watch])
    weights = sum(mask.size for mask in masks_of(model).values())
    assert abs(sum(zeros_of(model).values()) - 0.5 * weights) <= 1
    grown = [
        int((now[path] & ~then[path]).sum())
        for then, now in zip(watch.masks, watch.masks[1:], strict=False)
        for path in now
    ]
    assert sum(grown) > 20


def test_decaying_masks_in_frames(pixels):
    watch, model = Watch(), mlp()
    settings = {"schedule": "sdgf", "update_every": 2, "prune_until": 0.8}
    callback = Prune("1:4", estimator=DecayingMask(), **settings)
    fit(model, pixels, [callback, watch])
    counts = [int(m["hidden"].reshape(4, 4, 32).sum(axis=1).max()) for m in watch.masks]
    assert sorted(set(counts)) == [1, 2, 3] and counts == sorted(counts, reverse=True)
    assert_sparse(model, 0.75)


# --- quantization ---------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["4x4", "2:4 of 4x4"])
def test_movement_of_blocks_of_what_is_quantized(pattern, pixels, tmp_path):
    model = mlp()
    settings = {"estimator": "ste", "update_every": 2}
    callback = QuantizeThenPrune(pattern, 0.5, criterion="movement", **settings)
    fit(model, pixels, [callback])
    assert_sparse(model, 0.5, unit=16)
    for mask in masks_of(model).values():
        blocks = mask.reshape(mask.shape[1] // 4, 4, mask.shape[2] // 4, 4)
        assert (blocks == blocks[:, :1, :, :1]).all()
    assert qsparse.unfinished(model) is None


@pytest.mark.parametrize("order", ["S->Q", "Q->S"])
@pytest.mark.parametrize(
    "estimator", [SoftShrinkage(0.7), CAST(0.5), "sr-ste-decoupled"], ids=str
)
def test_weights_that_settle_are_quantized_from_the_first_step(
    estimator, order, pixels, tmp_path
):
    model = mlp()
    callback = Joint("2:4", estimator=estimator, order=order)
    fit(model, pixels, [callback])
    assert_sparse(model)
    for layer in compressed_layers(model):
        integers, scale = layer.canonical_integers()
        expected = layer.layout.canonical(np.asarray(layer.effective_kernel()))
        decoded = layer.plan.weight_format.decode(integers, scale)
        np.testing.assert_array_equal(decoded, expected)
    again = tmp_path / "m.keras"
    model.save(again)
    np.testing.assert_array_equal(
        qsparse.load_model(again).predict(pixels[0], verbose=0),
        model.predict(pixels[0], verbose=0),
    )


# --- what optimizers and trainers do --------------------------------------------------


def adam(**settings):
    return keras.optimizers.Adam(1e-2, **settings)


OPTIMIZERS = {
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(adam()),
    "accumulating": lambda: adam(gradient_accumulation_steps=4),
    "averaging": lambda: adam(use_ema=True, ema_overwrite_frequency=3),
    "averaging at the end": lambda: adam(use_ema=True, ema_overwrite_frequency=None),
    "clipping": lambda: adam(global_clipnorm=0.1),
    "decaying": lambda: adam(weight_decay=0.01),
    "sgd": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
    "lion": lambda: keras.optimizers.Lion(1e-3),
}
TRAINERS = {
    "several steps": {"steps_per_execution": 4},
    "xla": {"jit_compile": True},
    "eager": {"run_eagerly": True},
}
SETTLING = ["sr-ste-decoupled", "soft-shrinkage", "cast"]
if os.environ.get("QSPARSE_EVERY_METHOD") != "1":
    SETTLING = SETTLING[-1:]  # they settle in one way
WAYS = {
    **{name: {"estimator": name} for name in SETTLING},
    "masked": {"estimator": "masked"},
    "rigl": {"estimator": "ste", "regrowth": "rigl", "schedule": "constant"},
    "movement": {"estimator": "ste", "criterion": "movement", "prune_from": 0.2},
}


def trained(way, optimizer, pixels, **settings):
    keras.utils.set_random_seed(3)
    model = mlp(optimizer=optimizer, **settings)
    callback = Prune("unstructured", 0.5, update_every=4, **WAYS[way])
    fit(model, pixels, [callback], epochs=2)
    return model


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers(optimizer, way, pixels):
    made = OPTIMIZERS[optimizer]()
    model = trained(way, made, pixels)
    assert_sparse(model)
    assert qsparse.unfinished(model) is None
    qsparse.strip(model)
    assert type(model.optimizer) is type(OPTIMIZERS[optimizer]())


@pytest.fixture(scope="module")
def one_step_at_a_time():
    """Return way -> a model that is trained so, as they come to be needed."""
    return {}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("trainer", TRAINERS)
def test_trainers(trainer, way, pixels, one_step_at_a_time):
    """One step at a time gives the same masks wherever they are selected."""
    model = trained(way, adam(), pixels, **TRAINERS[trainer])
    assert_sparse(model)
    if trainer != "several steps":
        if way not in one_step_at_a_time:
            one_step_at_a_time[way] = trained(way, adam(), pixels)
        expected = one_step_at_a_time[way]
        for ours, theirs in zip(
            compressed_layers(model), compressed_layers(expected), strict=True
        ):
            np.testing.assert_allclose(ours.values(), theirs.values(), atol=2e-3)


def test_accumulated_gradients_settle_weights_once(pixels):
    """Four steps of a fourth of the batch are one step of all of it."""
    kernels = []
    for size, steps in ((100, None), (25, 4)):
        model = mlp(
            optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=steps)
        )
        settings = {"schedule": "one-shot", "estimator": SoftShrinkage(0.5)}
        callback = Prune("unstructured", 0.5, **settings, total_steps=100)
        data = tuple(part[:200] for part in pixels)
        fit(model, data, [callback], epochs=1, batch_size=size)
        kernels.append([c.values() for c in compressed_layers(model)])
    for one, other in zip(*kernels, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["accumulating", "averaging", "sgd"])
def test_what_grows_starts_from_nothing(optimizer, pixels):
    """Whatever an optimizer held of a weight does not move it before its first step."""
    model = mlp(optimizer=OPTIMIZERS[optimizer]())
    settings = {"estimator": "ste", "schedule": "constant", "total_epochs": 2}
    settings |= {"regrowth": "set", "update_every": 5, "prune_until": 0.75}
    callback = Prune("unstructured", 0.5, **settings)
    fit(model, pixels, [callback], epochs=1)
    phases = callback._phases
    before = masks_of(model)
    phases.step(10)
    for layer in compressed_layers(model):
        grown = layer.layout.kernel(
            layer.canonical_mask() & ~before[layer.path_in_model]
        )
        assert grown.any() and (layer.values()[grown] == 0).all()
        slots = slots_of(model.optimizer, layer.master_variable)
        assert slots
        for slot, begins in slots:
            assert (slot.numpy()[grown] == begins).all(), slot.path


# --- criteria that rank once ----------------------------------------------------------


def snip(**settings):
    return Prune("unstructured", 0.5, criterion="snip", estimator="ste", **settings)


def test_weights_of_an_earlier_epoch_keep_their_ranking(pixels):
    """EarlyStopping gives back weights and masks; what ranks them is still known."""
    model = mlp()
    callback = snip(score_data=pixels, update_every=2, total_epochs=4)
    fit(model, pixels, [callback], epochs=1)
    early = model.get_weights()
    scores = [c.ranking.scores().copy() for c in compressed_layers(model)]
    fit(model, pixels, [snip(score_data=pixels, update_every=2, total_epochs=4)])
    late = masks_of(model)
    model.set_weights(early)
    fit(model, pixels, [snip(score_data=pixels, update_every=2, total_epochs=4)])
    for layer, ranked in zip(compressed_layers(model), scores, strict=True):
        np.testing.assert_array_equal(layer.ranking.scores(), ranked)
        np.testing.assert_array_equal(layer.canonical_mask(), late[layer.path_in_model])


def test_a_ranking_that_is_lost_is_told(pixels):
    """`set_weights` into another model brings masks, and not what they came from."""
    callback = snip(score_data=pixels, update_every=2, total_epochs=4)
    first = mlp()
    fit(first, pixels, [callback], epochs=1)
    second = mlp()
    qsparse.attach(second, callback.recipe, score_data=pixels)
    second.set_weights(first.get_weights())
    with pytest.raises(
        ValueError, match="ranks the weights once.*qsparse.load_weights"
    ):
        fit(second, pixels, [snip(score_data=pixels, update_every=2, total_epochs=4)])


def test_the_first_phase_is_not_a_ranking_that_is_lost(pixels):
    """Weights from before the first selection bring no ranking, and need none."""
    settings = {"score_data": pixels, "prune_from": 0.5, "prune_until": 0.9}
    first, second = mlp(), mlp(seed=4)
    fit(first, pixels, [snip(**settings, total_epochs=2)], epochs=1)
    qsparse.attach(second, snip(**settings).recipe, score_data=pixels)
    second.set_weights(first.get_weights())
    fit(second, pixels, [snip(**settings, total_epochs=2)], epochs=1)
    assert_sparse(second)


# --- sensitivity and rules ------------------------------------------------------------


def test_sensitivity_follows_rules(pixels):
    model = mlp()
    rules = [
        qsparse.Rule("hidden", pattern="2:4"),
        qsparse.Rule("head", quantize=False),
    ]
    recipe = qsparse.Recipe("unstructured", 0.5, rules=rules)
    report = qsparse.sensitivity(model, pixels, recipe, sparsities=(0.25, 0.75))
    assert [(r.path, r.change) for r in report.rows] == [
        ("hidden", "50.0%"),
        ("hidden", "int8"),
        ("head", "25.0%"),
        ("head", "75.0%"),
    ]
    fixed = qsparse.Recipe(
        "unstructured",
        0.5,
        rules=[
            qsparse.Rule("hidden", sparsity=0.3),
            qsparse.Rule("head", leave_alone=True),
        ],
    )
    report = qsparse.sensitivity(model, pixels, fixed, sparsities=(0.25, 0.75))
    assert [(r.path, r.change) for r in report.rows] == [
        ("hidden", "30.0%"),
        ("hidden", "int8"),
    ]
    dense = qsparse.Recipe(
        "unstructured", 0.5, rules=[qsparse.Rule("head", sparsity=0.0)]
    )
    report = qsparse.sensitivity(model, pixels, dense, (0.75,), formats=())
    assert [(r.path, r.change, r.format) for r in report.rows] == [
        ("hidden", "75.0%", None)
    ]
