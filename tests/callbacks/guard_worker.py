"""A guarded training on any backend; run by `test_guard`."""

import warnings

import keras
import numpy as np

import qsparse
from qsparse.callbacks import Guard, Prune
from qsparse.engine.compressor import compressed_layers, state_of
from tests.perceptron import mlp


class Script(keras.callbacks.Callback):
    """Lets validation find these numbers; notes the weights at each."""

    def __init__(self, values):
        super().__init__()
        self.values, self.states = list(values), []

    def on_test_end(self, logs=None):
        logs["accuracy"] = self.values.pop(0)

    def on_epoch_end(self, epoch, logs=None):
        self.states.append(self.model.get_weights())


def main():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(250, 16)).astype("float32"), random.integers(0, 12, 250)
    model, script = mlp(), Script([0.9, 0.9, 0.8, 0.8])
    callback = Prune(
        *("unstructured", 0.6),
        prune_from=10,
        prune_until=35,
        update_every=5,
        guard=Guard(),
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        history = model.fit(
            *(x, y),
            batch_size=25,
            epochs=4,
            verbose=0,
            validation_data=(x, y),
            callbacks=[script, callback],
        ).history
    messages = [str(w.message) for w in told if "The guard" in str(w.message)]
    assert len(messages) == 1 and "that of step 19" in messages[0], messages
    sparsity = history["sparsity"]
    assert 0 == sparsity[0] < sparsity[1] < sparsity[2] == sparsity[3], sparsity
    for ours, theirs, variable in zip(
        model.get_weights(), script.states[1], model.weights, strict=True
    ):
        if variable.name not in ("clock", "progress"):
            np.testing.assert_array_equal(ours, theirs)
    masks = [c.canonical_mask().ravel() for c in compressed_layers(model)]
    assert abs(1 - np.concatenate(masks).mean() - sparsity[1]) < 1e-6
    assert state_of(model).time().step == 19
    assert qsparse.unfinished(model) is None
    print("guarded on", keras.backend.backend())


if __name__ == "__main__":
    main()
