"""RigL and SET in training: who grows, from what, and what the optimizer remembers."""

from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import qsparse
from qsparse import SET, Recipe, RigL, Rule
from qsparse.callbacks import Prune
from qsparse.engine.compressor import compressed_layers
from qsparse.keras_compat import slots_of
from tests import perceptron
from tests.perceptron import mlp
from tests.qsparse.methods.test_regrowth import naive

RIGL = {"regrowth": "rigl", "schedule": "constant", "estimator": "ste"}


class Step(NamedTuple):
    """What a layer and its optimizer hold after a step, and the next layer's mask."""

    mask: np.ndarray
    weights: np.ndarray
    slots: list
    head: np.ndarray


class Watch(keras.callbacks.Callback):
    """Keeps what holds after every step."""

    def on_train_begin(self, logs=None):
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        layer, head = compressed_layers(self.model)
        kernel = layer.master_variable
        slots = [slot.numpy() for slot, _ in slots_of(self.model.optimizer, kernel)]
        masks = [c.mask_variable.numpy() for c in (layer, head)]
        self.steps.append(Step(masks[0], kernel.numpy(), slots, masks[1]))


def watched(model, data, callback, epochs=2):
    watch = Watch()
    perceptron.fit(model, data, [callback, watch], epochs=epochs)
    return watch.steps


def test_weights_grow_where_the_gradient_is_steepest(pixels):
    """With steps of no length, gradients are those of the masked weights throughout."""
    model = mlp(optimizer=keras.optimizers.SGD(0.0))
    callback = Prune("unstructured", 0.5, update_every=5, **RIGL)
    steps = watched(model, pixels, callback)
    mask, weights, _, head = steps[4]
    head = head * compressed_layers(model)[1].values()
    total = np.zeros_like(weights)
    for batch in range(5):
        x, y = (part[25 * batch : 25 * batch + 25] for part in pixels)
        kernel = tf.Variable(weights * mask)
        with tf.GradientTape() as tape:
            hidden = tf.nn.relu(tf.matmul(x.astype(np.float32), kernel))
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                y, tf.matmul(hidden, head)
            )
            loss = tf.reduce_mean(losses)
        total += tape.gradient(loss, kernel).numpy()
    fraction = RigL().fraction(0.5)
    expected = naive(mask[None], np.abs(weights)[None], abs(total)[None], fraction)[0]
    assert expected.any(axis=0).all()  # else an output would keep its best
    assert (mask != expected).sum() > 10
    np.testing.assert_array_equal(steps[5].mask, expected)


@pytest.mark.parametrize(
    "optimizer", ["sgd", "adam", "lion"], ids=["momentum", "adam", "lion"]
)
@pytest.mark.parametrize("regrowth", [RigL(0.5), SET(0.5)])
def test_what_grows_starts_from_zero_without_a_past(regrowth, optimizer, pixels):
    make = {
        "sgd": lambda: keras.optimizers.SGD(0.05, 0.9),
        "adam": lambda: keras.optimizers.Adam(1e-2),
        "lion": lambda: keras.optimizers.Lion(1e-3),
    }[optimizer]
    model = mlp(optimizer=make())
    callback = Prune(
        "unstructured", 0.7, update_every=4, **RIGL | {"regrowth": regrowth}
    )
    steps = watched(model, pixels, callback)
    moved = 0
    for before, after in zip(steps, steps[1:], strict=False):
        assert after.mask.sum() == before.mask.sum()
        grown = after.mask & ~before.mask
        if not grown.any():
            continue
        moved += 1
        # One step from zero; with a momentum of before it would be longer.
        assert np.abs(before.weights[grown]).max() > 0
        longest = {"sgd": None, "adam": 1.01e-2, "lion": 1.01e-3}[optimizer]
        if longest is not None:
            assert np.abs(after.weights[grown]).max() <= longest
        else:  # A momentum is the step itself.
            np.testing.assert_allclose(
                after.weights[grown], after.slots[0][grown], rtol=1e-5
            )
        assert any((slot[grown] != 0).any() for slot in before.slots)
    assert moved >= 2


def test_a_block_grows_as_a_whole_and_a_model_ends_sparse(pixels):
    model = mlp()
    history = perceptron.fit(
        model, pixels, [Prune("4x4", 0.5, prune_until=0.75, **RIGL)], epochs=4
    ).history
    assert history["sparsity"] == [0.5] * 4
    assert qsparse.unfinished(model) is None
    mask = compressed_layers(model)[0].canonical_mask()[0]
    tiles = mask.reshape(4, 4, 8, 4)
    assert (tiles.all(axis=(1, 3)) == tiles.any(axis=(1, 3))).all()


def test_what_is_drawn_is_drawn_again(pixels, tmp_path):
    """A training that goes on from a file moves the same masks."""

    def callback():
        return Prune(
            "unstructured",
            0.8,
            update_every=3,
            **RIGL | {"regrowth": "set"},
            total_epochs=3,
            prune_until=1.0,
        )

    whole = mlp()
    perceptron.fit(whole, pixels, [callback()], epochs=3)
    first = mlp()
    perceptron.fit(first, pixels, [callback()], epochs=2)  # of three
    first.save(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match="was not carried out"):
        second = qsparse.load_model(tmp_path / "m.keras")
    perceptron.fit(second, pixels, [callback()], epochs=3, initial_epoch=2)
    for a, b in zip(compressed_layers(whole), compressed_layers(second), strict=True):
        np.testing.assert_array_equal(a.canonical_mask(), b.canonical_mask())
        np.testing.assert_array_equal(a.values(), b.values())


def test_masked_weights_are_not_moved_by_a_momentum_of_before(pixels):
    model = mlp(optimizer=keras.optimizers.SGD(0.05, 0.9))
    callback = Prune("unstructured", 0.7, update_every=5, estimator="masked")
    steps = watched(model, pixels, callback)
    last = steps[-1].mask
    frozen = [step.weights for step in steps if (step.mask == last).all()]
    assert len(frozen) > 5
    for weights in frozen[1:]:
        np.testing.assert_array_equal(weights[~last], frozen[0][~last])


def test_what_cannot_regrow_is_refused():
    with pytest.raises(ValueError, match="Layer 'hidden' has regrowth=RigL.*2:4"):
        qsparse.attach(mlp(), Recipe("2:4", regrowth="rigl", estimator="ste"))
    with pytest.raises(ValueError, match="estimator=Masked.* hides them"):
        qsparse.attach(mlp(), Recipe(regrowth="rigl", estimator="masked"))
    qsparse.attach(mlp(), Recipe(regrowth="set", estimator="masked"))


def test_a_rule_may_let_layers_regrow():
    rules = [Rule("hidden", regrowth=RigL(0.2))]
    recipe = Recipe("4x4", estimator="ste", rules=rules)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    hidden, head = qsparse.resolve(mlp(), recipe)
    assert hidden.regrowth == RigL(0.2) and head.regrowth is None


def test_a_ranking_for_good_cannot_move_by_gradients():
    with pytest.raises(ValueError, match="criterion=Random.*ranks weights once"):
        qsparse.attach(mlp(), Recipe("unstructured", 0.5, criterion="random", **RIGL))
