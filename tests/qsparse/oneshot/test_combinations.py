"""One-shot compression with allocations, rules, regrowth and criteria of all kinds."""

import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse.callbacks import Compress
from qsparse.engine.compressor import compressed_layers, state_of
from qsparse.methods.patterns import capacity
from tests.conftest import compiled
from tests.perceptron import fit


def network():
    """Return a perceptron whose layers differ in the size of their weights."""
    keras.utils.set_random_seed(3)
    sizes = {"a": 32, "b": 24, "c": 16, "head": 12}
    made = [
        layers.Dense(n, "relu" * (name != "head") or None, name=name)
        for name, n in sizes.items()
    ]
    model = compiled(keras.Sequential([keras.Input((16,)), *made]))
    for factor, layer in zip((1, 3, 0.5, 2), made, strict=True):
        layer.kernel.assign(layer.kernel * factor)
    return model


def compressed(model, recipe, data, method="sparsegpt"):
    report = qsparse.one_shot(model, recipe, data, method, verbose=0)
    return {row.path: row for row in report.layers}


def zeros_of(model):
    masks = {c.path_in_model: c.canonical_mask() for c in compressed_layers(model)}
    return {path: int((~m).sum()) for path, m in masks.items() if m is not None}


def by_one_threshold(kernels, sparsity, adapt):
    """Return how many zeros each kernel has if the lowest of all scores go."""
    rows, weights = [], sum(kernel.size for kernel in kernels)
    for place, kernel in enumerate(kernels):
        scores = np.abs(kernel.astype(np.float64))
        best = scores.argmax(axis=0)
        for index, score in np.ndenumerate(adapt(scores)):
            if best[index[1]] != index[0]:
                rows.append((score, place))
    gone = [place for _, place in sorted(rows)[: round(sparsity * weights)]]
    return [gone.count(place) for place in range(len(kernels))]


def lamp(scores):
    squares = scores**2
    return np.array(
        [s / squares[squares >= s].sum() for s in squares.reshape(-1)]
    ).reshape(scores.shape)


@pytest.mark.parametrize("method", ["sparsegpt", "magnitude", "obs"])
@pytest.mark.parametrize(
    ("allocation", "adapt"), [("global", lambda s: s), ("lamp", lamp)]
)
def test_the_total_is_shared_out_by_scores(allocation, adapt, method, pixels):
    model = network()
    kernels = [layer.kernel.numpy() for layer in model.layers]
    recipe = qsparse.Recipe("unstructured", 0.6, allocation=allocation)
    rows = compressed(model, recipe, pixels[0], method)
    zeros = zeros_of(model)
    assert list(zeros.values()) == by_one_threshold(kernels, 0.6, adapt)
    assert len({round(row.sparsity, 2) for row in rows.values()}) > 2
    assert qsparse.unfinished(model) is None


def test_what_rules_fix_counts_towards_the_total(pixels):
    model = network()
    rules = [qsparse.Rule("b", sparsity=0.25), qsparse.Rule("c", pattern="2:4")]
    recipe = qsparse.Recipe("4x4", 0.4, allocation="global", rules=rules)
    rows = compressed(model, recipe, pixels[0])
    assert rows["b"].sparsity == 0.25 and rows["c"].sparsity == 0.5
    weights = sum(
        layer.kernel.shape[0] * layer.kernel.shape[1] for layer in model.layers
    )
    unit = capacity(qsparse.Block((4, 4)), (1, 16, 32)).unit
    assert abs(sum(zeros_of(model).values()) - 0.4 * weights) <= unit


def test_rules_change_pattern_formats_and_what_is_left(pixels):
    model = network()
    before = [np.array(w) for w in model.layers[-1].get_weights()]
    rules = [
        qsparse.Rule("a", pattern="2:4"),
        qsparse.Rule("b", pattern="dense"),
        qsparse.Rule("c", quantize=False),
        qsparse.Rule("head", leave_alone=True),
    ]
    rows = compressed(
        model, qsparse.Recipe("unstructured", 0.5, rules=rules), pixels[0]
    )
    assert {path: row.sparsity for path, row in rows.items()} == {
        "a": 0.5,
        "b": 0.0,
        "c": 0.5,
    }
    by_path = {c.path_in_model: c for c in compressed_layers(model)}
    groups = by_path["a"].canonical_mask()[0].reshape(4, 4, 32)
    assert (groups.sum(axis=1) == 2).all()
    for path, rounded in (("a", True), ("b", True), ("c", False)):
        kernel = by_path[path].values()
        steps = kernel / (np.abs(kernel).max(axis=0) / 127)
        assert np.allclose(steps, np.rint(steps), atol=1e-3) == rounded, path
    for ours, theirs in zip(model.layers[-1].get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_regrowth_waits_for_a_training_and_finds_nothing_to_do(pixels):
    masks = []
    for regrowth in (None, "rigl"):
        model = network()
        recipe = qsparse.Recipe("4x4", 0.5, estimator="ste", regrowth=regrowth)
        compressed(model, recipe, pixels[0])
        masks.append([c.canonical_mask() for c in compressed_layers(model)])
        fit(model, pixels, [Compress(recipe)], epochs=1)
        masks.append([c.canonical_mask() for c in compressed_layers(model)])
    for one, *others in zip(*masks, strict=True):
        for other in others:
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("criterion", ["snip", "movement", "block-fisher", "wanda"])
def test_criteria_that_need_training(criterion, pixels):
    """Where they would count they are refused; elsewhere they change nothing."""
    for settings, method in (({}, "magnitude"), ({"allocation": "lamp"}, "obs")):
        if criterion == "wanda" and method == "magnitude":
            continue  # it sees the inputs of the layer
        model = network()
        before = [np.array(w) for w in model.get_weights()]
        recipe = qsparse.Recipe("unstructured", 0.5, criterion, **settings)
        with pytest.raises(ValueError, match="layer 'a', scores by .*Take criterion="):
            compressed(model, recipe, pixels[0], method)
        assert state_of(model) is None
        for ours, theirs in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    found = []
    for each in (criterion, "magnitude"):
        model = network()
        compressed(model, qsparse.Recipe("unstructured", 0.5, each), pixels[0])
        found.append(model.get_weights())
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)
