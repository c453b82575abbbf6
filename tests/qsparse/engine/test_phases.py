"""What a training makes of allocations and schedules, and what of it is kept."""

import warnings
from dataclasses import dataclass

import keras
import numpy as np
import pytest

import qsparse
from qsparse import ERK, LAMP, NM, Global, Recipe, SdGf, Sensitivity, Unstructured
from qsparse.callbacks import Prune, PruneThenQuantize, Quantize
from qsparse.engine.compressor import compressed_layers
from qsparse.methods import REGISTRIES
from qsparse.methods.patterns import capacity
from tests import perceptron
from tests.conftest import compiled, small_cnn
from tests.perceptron import mlp

pytestmark = pytest.mark.filterwarnings("ignore:Training makes .* steps from where")


def fit(model, data, *callbacks, **settings):
    return perceptron.fit(model, data, list(callbacks), **settings)


def masks_of(model):
    return [c.canonical_mask() for c in compressed_layers(model)]


def zeros_of(model):
    return sum(np.count_nonzero(~m) for m in masks_of(model) if m is not None)


class Watch(keras.callbacks.Callback):
    """Keeps what every layer's mask was in each step."""

    def __init__(self):
        super().__init__()
        self.masks = []

    def on_train_batch_end(self, batch, logs=None):
        self.masks.append(masks_of(self.model))


@pytest.fixture
def mixed():
    """Register a pattern that is 2:4 on 16 inputs, and unstructured elsewhere."""
    before = dict(REGISTRIES["pattern"].classes)

    @qsparse.register("pattern", "mixed")
    @dataclass(frozen=True)
    class Mixed:
        def _of(self, shape):
            return NM(2, 4) if shape[1] == 16 else Unstructured()

        def mask(self, scores, sparsity):
            return self._of(scores.shape).mask(scores, sparsity)

        def misfit(self, shape):
            return None

        def final_sparsity(self, sparsity):
            return sparsity

        def capacity(self, shape):
            return capacity(self._of(shape), shape)

    yield Mixed()
    REGISTRIES["pattern"].classes = before


@pytest.mark.parametrize("sparsity", [0.3, 0.7, 0.93])
def test_global_is_one_threshold_over_the_model(pixels, sparsity):
    """Weights that do not move have the masks that sorting all of them gives."""
    model = mlp(optimizer=keras.optimizers.SGD(0.0))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Training changed no compressed weight")
        fit(model, pixels, Prune("unstructured", sparsity, allocation="global"))
    layers = compressed_layers(model)
    total = sum(layer.master().size for layer in layers)
    row = []
    for layer in layers:
        scores = np.abs(layer.master()[0])
        stays = scores.argmax(axis=0)
        for (i, j), score in np.ndenumerate(scores):
            if i != stays[j]:
                row.append((score, layer.path_in_model, i, j))
    gone = sorted(row)[: int(np.floor(sparsity * total + 0.5))]
    for layer in layers:
        expected = np.ones(layer.layout.canonical_shape, bool)
        for _, path, i, j in gone:
            if path == layer.path_in_model:
                expected[0, i, j] = False
        np.testing.assert_array_equal(layer.canonical_mask(), expected)


@pytest.mark.parametrize(
    ("allocation", "pattern"),
    [
        ("global", "4x4"),
        ("lamp", "unstructured"),
        ("erk", "4x4"),
        ("uniform+", "unstructured"),
    ],
)
def test_the_total_of_a_training_is_what_was_asked_for(allocation, pattern, images):
    model, data = small_cnn(), (images[0][:250], images[1][:250])
    callback = PruneThenQuantize(pattern, sparsity=0.6, allocation=allocation)
    history = fit(model, data, callback).history
    pruned = [c for c in compressed_layers(model) if c.pattern is not None]
    weights = sum(c.master().size for c in pruned)
    units = sum(c.plan.capacity.unit for c in pruned)
    assert abs(zeros_of(model) - 0.6 * weights) <= units
    assert history["sparsity"][-1] == pytest.approx(zeros_of(model) / weights)
    shares = {round(1 - c.canonical_mask().mean(), 3) for c in pruned}
    assert len(shares) > 1  # The layers are not alike.
    unit = pruned[0].plan.capacity.unit
    if allocation in ("global", "lamp"):
        assert abs(zeros_of(model) - 0.6 * weights) <= unit / 2


def test_shares_by_scores_follow_the_schedule(pixels):
    model, watch = mlp(), Watch()
    callback = Prune(
        "unstructured", 0.8, allocation="lamp", schedule="linear", update_every=1
    )
    fit(model, pixels, callback, watch)
    total = sum(mask.size for mask in watch.masks[0])
    for step, masks in enumerate(watch.masks):
        zeros = sum(np.count_nonzero(~mask) for mask in masks)
        assert zeros == np.floor(0.8 * min(step / 10, 1.0) * total + 0.5), step


def test_a_criterion_that_uses_gradients_up_is_asked_once(pixels):
    model = mlp()
    callback = Prune(
        "unstructured", 0.5, allocation="global", criterion="saliency", update_every=5
    )
    fit(model, pixels, callback)  # The first selection is at sparsity 0.
    assert zeros_of(model) == (16 * 32 + 32 * 12) // 2


@pytest.mark.parametrize("allocation", [Global(), LAMP(), ERK()])
def test_layers_of_a_fixed_sparsity_count_and_follow_their_schedule(
    mixed, allocation, pixels
):
    model, watch = mlp(), Watch()
    recipe = {"allocation": allocation, "schedule": "linear", "update_every": 1}
    fit(model, pixels, Prune(mixed, 0.6, **recipe), watch)
    for step, (hidden, head) in enumerate(watch.masks):
        progress = min(step / 10, 1.0)
        # 128 groups of 2:4 obey one after the other.
        assert np.count_nonzero(~hidden) == 2 * np.floor(progress * 128 + 0.5), step
        zeros = np.count_nonzero(~hidden) + np.count_nonzero(~head)
        assert abs(zeros - progress * 0.6 * 896) <= 2, step
    hidden, head = (c.plan.sparsity for c in compressed_layers(model))
    assert hidden == 0.5
    assert head == pytest.approx((0.6 * 896 - 256) / 384)


def test_layers_of_a_fixed_sparsity_that_exceed_the_total(mixed):
    model = mlp()
    recipe = Recipe(mixed, 0.2, allocation="erk")
    with pytest.raises(
        ValueError,
        match=r"sparsity=0.2 is the total.*ERK.*'hidden' \(50.0%\), alone make 28.6%",
    ):
        qsparse.attach(model, recipe)
    assert qsparse.engine.compressor.state_of(model) is None
    # `Uniform` promises no total.
    qsparse.attach(model, Recipe(mixed, 0.2))


@pytest.mark.parametrize(
    ("allocation", "reached"),
    # 44 of 896 weights, one an output, have to stay; or the first layer does as well.
    [("erk", "95.1%"), ("global", "95.1%"), ("uniform+", "34.3%")],
)
def test_a_total_that_layers_cannot_hold_is_told_once(allocation, reached, pixels):
    model = mlp()
    callback = Prune("unstructured", 0.99, allocation=allocation)
    with pytest.warns(UserWarning) as caught:
        fit(model, pixels, callback)
    told = [str(w.message) for w in caught if "is the total" in str(w.message)]
    assert len(told) == 1
    assert f"they hold {reached} at most" in told[0] and "sparsity=0.99" in told[0]
    assert zeros_of(model) / 896 == pytest.approx(float(reached[:-1]) / 100, abs=1e-3)


@pytest.mark.parametrize("kind", ["stepwise", "geometric"])
def test_frames_are_laid_on_one_after_the_other(kind, pixels):
    model, watch = mlp(), Watch()
    recipe = {"schedule": SdGf(kind), "update_every": 1, "prune_until": 0.8}
    fit(model, pixels, Prune("2:4", **recipe), watch, epochs=3)
    frames = [NM(3, 4), NM(2, 4)] if kind == "stepwise" else None
    for index, inputs in enumerate((16, 32)):
        mine = frames or [NM(k * 2, k * 4) for k in (8, 4, 2, 1) if k * 4 <= inputs]
        for step, masks in enumerate(watch.masks):
            frame = mine[min(int(step / 24 * len(mine)), len(mine) - 1)]
            groups = masks[index].reshape(-1, frame.m, masks[index].shape[2])
            assert (groups.sum(axis=1) == frame.n).all(), (step, frame)
            if frame.m > 4:
                looser = masks[index].reshape(-1, 4, masks[index].shape[2])
                assert not (looser.sum(axis=1) == 2).all()


def test_frames_need_a_pattern_that_they_lead_to():
    model = mlp()
    with pytest.raises(ValueError, match="Layer 'hidden': SdGf leads to N:M.*4x4 bl"):
        qsparse.attach(model, Recipe(schedule="sdgf"))
    assert qsparse.engine.compressor.state_of(model) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"pattern": "unstructured", "sparsity": 0.8, "allocation": "global"},
        {"pattern": "4x4", "sparsity": 0.6, "allocation": "lamp"},
        {"pattern": "1:4", "schedule": SdGf("geometric")},
    ],
    ids=["global", "lamp", "sdgf"],
)
def test_a_training_that_was_saved_goes_on_bit_for_bit(settings, pixels, tmp_path):
    def callback():
        return PruneThenQuantize(**settings, update_every=3, total_epochs=4)

    straight = mlp()
    fit(straight, pixels, callback(), epochs=1)
    straight.save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="The recipe was not carried out"):
        resumed = qsparse.load_model(tmp_path / "m.keras")
    plans = [c.plan for c in compressed_layers(straight)]
    assert [c.plan for c in compressed_layers(resumed)] == plans
    for model in (straight, resumed):
        fit(model, pixels, callback(), epochs=3)
    for ours, theirs in zip(straight.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert zeros_of(straight) > 0


def test_measured_numbers_share_out_and_need_no_second_look(pixels, tmp_path):
    """A file knows its shares; layers of other names do not stop it from loading."""
    curves = (("hidden", ((0.5, 0.1), (0.9, 5.0))), ("head", ((0.5, 0.2), (0.9, 0.3))))
    model = mlp()
    callback = Prune("unstructured", 0.6, allocation=Sensitivity(curves))
    fit(model, pixels, callback)
    # To 0.5, a zero of `hidden` costs least; `head` has the rest.
    hidden, head = (row.sparsity for row in callback.coverage.layers)
    assert hidden == 0.5
    assert head == pytest.approx((0.6 * 896 - 256) / 384, abs=1 / 384)
    model.save_weights(tmp_path / "m.weights.h5")
    other = keras.Sequential(
        [keras.Input((16,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(12)]
    )
    qsparse.load_weights(other, tmp_path / "m.weights.h5")
    for a, b in zip(masks_of(model), masks_of(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [row.sparsity for row in qsparse.coverage(other).layers] == [hidden, head]
    with pytest.raises(ValueError, match="no numbers of .*it has them of 'hidden', 'h"):
        qsparse.attach(renamed(), callback.recipe)


class Late(keras.Model):
    """Its head is built by the first batch of training."""

    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(32, activation="relu", name="hidden")
        self.head = keras.layers.Dense(12, name="head")

    def build(self, shape):
        self.hidden.build(shape)
        self.built = True

    def call(self, x):
        return self.head(self.hidden(x))


@pytest.mark.parametrize("allocation", ["erk", "global"])
def test_what_the_first_batch_builds_has_its_share(allocation, pixels):
    """Every layer's share is that of a model in which all were built."""
    keras.utils.set_random_seed(0)
    late = compiled(Late())
    late.build((None, 16))
    callback = Prune("unstructured", 0.6, allocation=allocation)
    fit(late, pixels, callback)
    assert abs(zeros_of(late) - 0.6 * 896) <= 1
    whole = mlp()
    qsparse.attach(whole, callback.recipe)
    shares = {p.split("/")[-1]: s for p, s in plans_of(late).items()}
    assert shares == plans_of(whole)


def test_what_the_first_batch_builds_begins_to_learn_its_scales(pixels):
    keras.utils.set_random_seed(0)
    late = compiled(Late())
    late.build((None, 16))
    fit(late, pixels, Quantize(format="learned-int2", quantize_from=0.0))
    for layer in compressed_layers(late):
        assert (layer.scales.begun.numpy() < 1).any()
        assert layer.scales.grown.numpy().any()


def plans_of(model):
    return {c.path_in_model: c.plan.sparsity for c in compressed_layers(model)}


def test_layers_left_out_are_not_asked_for_when_training_goes_on(pixels):
    """What was excluded has no share, and need not have been measured."""
    curves = (("hidden", ((0.5, 0.1), (0.9, 5.0))),)
    settings = {"allocation": Sensitivity(curves), "exclude": "head"}
    model = mlp()
    for _ in range(2):
        fit(model, pixels, Prune("unstructured", 0.6, **settings))
    assert [row.sparsity for row in qsparse.coverage(model).layers] == [
        pytest.approx(0.6, abs=1 / 512),
        0.0,
    ]


def test_pruning_that_comes_later_tells_of_a_shortage_too(pixels):
    model = mlp()
    fit(model, pixels, Quantize())
    with pytest.warns(UserWarning, match="they hold 95.1% at most"):
        recipe = Recipe("unstructured", 0.99, allocation="erk", quantize=False)
        qsparse.attach(model, recipe)


def renamed():
    return keras.Sequential([keras.Input((16,)), keras.layers.Dense(32, name="odd")])
