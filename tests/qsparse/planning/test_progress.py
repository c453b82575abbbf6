"""What is not carried out is said where a model is taken for finished."""

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import qsparse
from qsparse.callbacks import Compress, PruneThenQuantize
from qsparse.engine.compressor import state_of
from qsparse.planning.clock import Clock, Span
from tests.conftest import compiled
from tests.perceptron import fit, mlp

pytestmark = pytest.mark.filterwarnings("ignore:Skipping variable loading for opt")


@pytest.fixture
def best_of_epoch_one(pixels, tmp_path):
    """Return a checkpoint from the middle of pruning, and its model, finished."""
    model, path = mlp(), tmp_path / "best.keras"
    save = keras.callbacks.ModelCheckpoint(
        path, "loss", mode="max", save_best_only=True
    )
    with pytest.warns(UserWarning, match="last wrote '.*best.keras' before the recipe"):
        fit(model, pixels, [PruneThenQuantize(), save], epochs=4)
    return model, path


def test_a_checkpoint_from_before_the_phases(best_of_epoch_one, pixels, tmp_path):
    finished, path = best_of_epoch_one
    assert qsparse.unfinished(finished) is None
    told = r"float, (6\d\.\d)% of 75.0% sparse, as of step 9, .* prune_until and quant"
    with pytest.warns(UserWarning, match=told):
        model = qsparse.load_model(path)
    file = tmp_path / "model.tflite"
    with pytest.raises(ValueError, match=told):
        qsparse.export(model, file, pixels[0], strict=True)
    assert not file.exists()
    with pytest.warns(UserWarning, match=told):
        qsparse.export(model, file, pixels[0])
    assert file.exists()
    # It is the finished model again when it is fitted on.
    history = fit(model, pixels, [PruneThenQuantize()], epochs=3).history
    assert history["phase"] == [1.0, 3.0, 3.0]
    assert qsparse.unfinished(model) is None
    for ours, theirs in zip(finished.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_inspect_says_it_of_a_file(best_of_epoch_one):
    from qsparse.tflite_export.inspect import inspect_file

    finished, path = best_of_epoch_one
    found = inspect_file(path).unfinished
    with pytest.warns(UserWarning, match="not carried out"):
        assert found == qsparse.unfinished(qsparse.load_model(path))
    finished.save(path)
    assert inspect_file(path).unfinished is None


def test_attached_but_never_trained():
    model = mlp()
    assert qsparse.unfinished(model) is None
    qsparse.attach(model, qsparse.Recipe())
    assert qsparse.unfinished(model).startswith("The recipe has not begun")


def test_a_pruned_model_that_plain_keras_loaded(pixels, tmp_path):
    """Its zeros would grow back, so training it on says so; ours says nothing."""
    model, path = mlp(), tmp_path / "m.keras"
    fit(model, pixels, [PruneThenQuantize()])
    model.save(path)
    by_habit = keras.models.load_model(path)
    with pytest.warns(UserWarning, match="75% of the weights .* zero, but it has no m"):
        qsparse.attach(by_habit, qsparse.Recipe())
    qsparse.attach(qsparse.load_model(path), PruneThenQuantize().recipe)


def test_no_range_was_trained(pixels):
    """A loop that calls the model as if it predicted finds no range."""
    from qsparse.engine.phases import Phases

    model = mlp()
    qsparse.attach(model, qsparse.Recipe(quantize_from=0.0))
    phases = Phases(model)
    phases.start(10)
    for done in range(10):
        phases.step(done)
        model(pixels[0][:25])
    assert "none of 3 activation ranges was trained" in qsparse.unfinished(model)
    phases.step(10)
    model(pixels[0][:25], training=True)
    assert qsparse.unfinished(model) is None


def test_clocks_of_older_files(pixels, tmp_path):
    """They held the optimizer's iteration at the start, the total, the last step."""
    both = Clock(19, Span(0, 20), Span(0, 20))
    assert Clock.from_saved([0, 20, 19], True, True) == both
    assert Clock.from_saved([500, 20, 19], True, False) == both._replace(
        quantizing=Span()
    )
    assert Clock.from_saved([-12, 20, 19], True, True) == both
    assert Clock.from_saved([-1, 0, -1], True, True) == Clock()
    assert Clock.from_saved(both.to_list(), True, True) == both
    with pytest.raises(ValueError, match="five integers"):
        Clock.from_saved([1, 2], True, True)

    model, path = mlp(), tmp_path / "m.weights.h5"
    fit(model, pixels, [PruneThenQuantize()])
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        variables = file["layers/dense/qsparse/shared/vars"]
        del variables["clock"]
        variables["clock"] = np.array([0, 20, 19], np.int32)
    again = qsparse.load_weights(mlp(), path)
    assert state_of(again).time() == both
    assert fit(again, pixels, [PruneThenQuantize()]).history["phase"] == [3.0, 3.0]


def test_the_file_knows_which_layers_were_compressed(pixels, tmp_path):
    """`exclude` by an automatic name is another layer in another instance."""

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = layers.Dense(16, activation="relu")
            self.second = layers.Dense(16, activation="relu")
            self.third = layers.Dense(12)

        def call(self, x, training=False):
            return self.third(self.second(self.first(x)))

    def net():
        keras.utils.set_random_seed(5)
        model = compiled(Net())
        model(pixels[0][:1])
        return model

    keras.backend.clear_session()
    model, path = net(), tmp_path / "m.weights.h5"
    assert model.second.name == "dense_1"
    recipe = qsparse.Recipe(exclude="dense_1")
    fit(model, pixels, [Compress(recipe)])
    model.save_weights(path)
    keras.backend.clear_session()
    layers.Dense(1)
    again = net()
    assert again.first.name == "dense_1"
    qsparse.load_weights(again, path)
    assert [hasattr(x, "qsparse") for x in again.layers] == [True, False, True]
    for ours, theirs in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    history = fit(again, pixels, [Compress(recipe)]).history
    assert history["phase"] == [3.0, 3.0]
    other = keras.Sequential([keras.Input((16,)), layers.Dense(16)])
    with pytest.raises(ValueError, match="holds 2 compressed layers.*no such layer"):
        qsparse.load_weights(other, path)
