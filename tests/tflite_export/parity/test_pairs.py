"""Parts of a model and entries of a record find each other."""

import keras
from keras import layers

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.tflite_export import verify_file
from qsparse.tflite_export.parity.identity import paired
from tests.conftest import compiled


def test_names_are_paired_whatever_their_order():
    assert paired(["a", "b"], [("b", 2), ("a", 1)]) == [1, 2]


def test_other_or_doubled_names_are_paired_by_order():
    assert paired(["c", "d"], [("a", 1), ("b", 2)]) == [1, 2]
    assert paired(["a", "a"], [("a", 1), ("a", 2)]) == [1, 2]
    assert paired(["a", "b"], [("a", 1), ("a", 2)]) == [1, 2]


def test_another_number_of_parts_is_another_model():
    assert paired(["a"], [("a", 1), ("b", 2)]) is None


@keras.saving.register_keras_serializable("test_pairs")
class Block(layers.Layer):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.inner = layers.Dense(28, activation="relu", name="inner")

    def call(self, x):
        return self.inner(x)


class Twins(keras.Model):
    """Two sublayers of one name: their paths are the same."""

    def __init__(self):
        super().__init__()
        self.blocks = [Block(name="block") for _ in range(2)]
        self.flatten, self.head = layers.Flatten(), layers.Dense(12)

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(self.flatten(x))


def test_layers_of_one_name_verify(rows, images, tmp_path):
    keras.utils.set_random_seed(0)
    model = compiled(Twins())
    model.fit(
        rows, images[1][:48], epochs=4, verbose=0, callbacks=[PruneThenQuantize()]
    )
    qsparse.export(model, tmp_path / "m.tflite", rows)
    assert verify_file(model, tmp_path / "m.tflite", rows).failures == []
