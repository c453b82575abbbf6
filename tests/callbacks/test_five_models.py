"""The same `PruneThenQuantize()` on every kind of model."""

import keras
import numpy as np
import pytest

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.saving import read_recipe
from tests import models

# keras-hub and Keras itself warn about data adapters and custom compile methods.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:keras")


@pytest.mark.parametrize("name", [*models.IMAGE_MODELS, "bert"])
def test_trains_saves_loads_strips(name, images, tmp_path):
    keras.utils.set_random_seed(3)
    x, y = images[0][:512], images[1][:512]
    if name == "bert":
        model, x = models.bert(), models.rows_as_tokens(x)
    else:
        model = models.IMAGE_MODELS[name]()
    callback = PruneThenQuantize()
    history = model.fit(
        x, y, epochs=2, batch_size=32, callbacks=[callback], verbose=0
    ).history

    assert history["phase"] == [1.0, 3.0]
    assert history["sparsity"][-1] == pytest.approx(0.75)
    assert np.isfinite(history["loss"]).all()
    pruned = [row for row in callback.coverage.layers if not row.reason]
    assert pruned
    assert all(row.sparsity == pytest.approx(0.75, abs=0.02) for row in pruned)

    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    again = qsparse.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), expected)
    for ours, theirs in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)

    # Plain Keras finds the pruned, quantized weights in the same file ...
    plain = keras.models.load_model(tmp_path / "model.keras")
    # ... and stripping bakes the very same into the model.
    qsparse.strip(model)
    stripped = model.predict(x, verbose=0)
    np.testing.assert_array_equal(plain.predict(x, verbose=0), stripped)
    zeros = sum(int((w == 0).sum()) for w in model.get_weights() if w.ndim > 1)
    assert zeros >= sum(row.weights * row.sparsity for row in pruned)
    assert not any(
        type(layer).__module__.startswith("qsparse") for layer in model.layers
    )
    model.save(tmp_path / "stripped.keras")
    reloaded = keras.models.load_model(tmp_path / "stripped.keras")
    np.testing.assert_array_equal(reloaded.predict(x, verbose=0), stripped)
    assert read_recipe(tmp_path / "stripped.keras") is None
