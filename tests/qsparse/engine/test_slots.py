"""What an optimizer remembers of a weight is forgotten, whatever optimizer it is."""

import keras
import numpy as np
import pytest
from keras import optimizers

from qsparse.engine.slots import forget
from qsparse.keras_compat import slots_of
from tests import perceptron
from tests.perceptron import mlp

# Optimizer -> how many slots of a weight's size it has.
OPTIMIZERS = {
    "plain": (lambda: optimizers.SGD(0.01), 0),
    "momentum": (lambda: optimizers.SGD(0.01, 0.9), 1),
    "adam": (lambda: optimizers.Adam(), 2),
    "amsgrad": (lambda: optimizers.AdamW(amsgrad=True), 3),
    "ema": (lambda: optimizers.Adam(use_ema=True), 2),
    "lion": (lambda: optimizers.Lion(), 1),
    "rmsprop": (lambda: optimizers.RMSprop(momentum=0.5), 2),
    "adagrad": (lambda: optimizers.Adagrad(initial_accumulator_value=0.25), 1),
    "scaled": (lambda: optimizers.LossScaleOptimizer(optimizers.Adam()), 2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_slots_are_found_and_forgotten(name, pixels):
    make, count = OPTIMIZERS[name]
    model = mlp(optimizer=make())
    kernel = model.layers[0].kernel
    optimizer = model.optimizer
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    assert slots_of(inner, kernel) == []  # not built
    forget(optimizer, kernel, np.ones(kernel.shape, bool))

    perceptron.fit(model, pixels, [], epochs=1)
    slots = slots_of(inner, kernel)
    assert len({id(slot) for slot, _ in slots}) == len(slots) == count
    before = [v.numpy() for v in optimizer.variables]
    where = np.zeros(kernel.shape, bool)
    where[3:5] = True
    forget(optimizer, kernel, where)
    moved = 0
    for old, variable in zip(before, optimizer.variables, strict=True):
        new, mine = variable.numpy(), [s for s, _ in slots if s is variable]
        if mine:
            assert (new[where] == (0.25 if name == "adagrad" else 0.0)).all()
            np.testing.assert_array_equal(new[~where], old[~where])
            moved += (old != new).any()
        else:
            np.testing.assert_array_equal(new, old)
    assert moved == count
    assert slots_of(inner, keras.Variable(np.zeros((16, 32)))) == []
