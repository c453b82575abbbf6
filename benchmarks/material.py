"""Real images and real text, as small arrays, for models of any input."""

from functools import cache
from pathlib import Path

import keras
import numpy as np

from qsparse.recipes import fashion_mnist

SAMPLES = 80
CLASSES = 12  # ten of Fashion-MNIST; a multiple of four, so that blocks fit
_TEXT = Path(__file__).parents[1] / "LICENSE"


@cache
def images() -> tuple[np.ndarray, np.ndarray]:
    """Returns Fashion-MNIST, float32 (SAMPLES, 28, 28, 1) in [0, 1], and labels."""
    (values, labels), _ = fashion_mnist.load_normalized()
    return values[:SAMPLES], labels[:SAMPLES]


def pictures(shape: tuple[int, int, int], highest: float = 255.0) -> np.ndarray:
    """Returns the same images resized, float32 (SAMPLES, *shape) in [0, highest].

    Args:
        shape: height, width, channels; channels repeat the grey value.
        highest: what white is.
    """
    height, width, channels = shape
    resized = keras.ops.image.resize(images()[0], (height, width))
    grey = np.clip(keras.ops.convert_to_numpy(resized), 0.0, 1.0) * highest
    return np.repeat(grey, channels, axis=-1).astype(np.float32)


def tokens(length: int, vocabulary: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Returns the bytes of real text as ids, int32 (SAMPLES, length), and labels.

    The label is the byte that follows, modulo `CLASSES`.

    Args:
        length: bytes of a sample.
        vocabulary: ids lie below it.
    """
    text = np.frombuffer(_TEXT.read_bytes(), np.uint8).astype(np.int32)
    starts = np.arange(SAMPLES) * ((len(text) - length - 1) // SAMPLES)
    ids = np.stack([text[start : start + length] for start in starts])
    return ids % vocabulary, text[starts + length] % CLASSES


def words() -> tuple[np.ndarray, np.ndarray]:
    """Returns real words, (SAMPLES, 1) strings, and their first byte as label."""
    found = [word for word in _TEXT.read_text().split() if word.isalpha()][:SAMPLES]
    labels = np.array([ord(word[0]) % CLASSES for word in found], np.int32)
    return np.array(found, object)[:, None], labels
