"""Models trained in int8, and their files, shared by the tests of `qsparse verify`."""

import keras
import numpy as np
import pytest

import qsparse
from qsparse.callbacks import PruneThenQuantize
from tests.conftest import compiled, small_cnn
from tests.tflite_export import models


@pytest.fixture(scope="session")
def rows(images):
    """Return 48 images as 28 tokens of 28 values."""
    return images[0][:48, :, :, 0]


@pytest.fixture(scope="session")
def exports(images, test_images, tmp_path_factory):
    """Return a folder with a CNN and a transformer: .keras, .tflite, data."""
    folder = tmp_path_factory.mktemp("verify")
    keras.utils.clear_session()  # tests go by the names that layers get
    x, y = images[0][:512], images[1][:512]
    keras.utils.set_random_seed(7)
    for name, model in (
        ("cnn", small_cnn()),
        ("transformer", compiled(models.build(models.transformer, x[:1]))),
    ):
        model.fit(x, y, epochs=2, verbose=0, callbacks=[PruneThenQuantize()])
        model.save(folder / f"{name}.keras")
        report = qsparse.export(model, folder / f"{name}.tflite", x[:32])
        (folder / f"{name}.lsb").write_text(str(report.parity.max_lsb))
    np.savez(folder / "train.npz", x=x[:32])
    np.savez(folder / "test.npz", x=test_images[0][:24], y=test_images[1][:24])
    return folder
