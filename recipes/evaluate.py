"""Evaluating LiteRT files on images: predictions, accuracy, LSB differences."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from qsparse.tflite_export.files.grid import BY_TYPE


@dataclass(frozen=True)
class Predictions:
    """What a classifier's file returned.

    Attributes:
        raw: its outputs `(N, classes)`, int8, int16 or float32.
        scale: of integer outputs; 0 for float.
        zero_point: of integer outputs.
    """

    raw: np.ndarray
    scale: float
    zero_point: int

    def accuracy(self, labels: np.ndarray) -> float:
        """Returns the share of right predictions, in [0, 1]."""
        return float((self.raw.argmax(axis=1) == labels).mean())

    def max_lsb(self, logits: np.ndarray) -> int:
        """Returns the largest difference to float `logits`, in output steps."""
        steps = np.round(logits / self.scale) + self.zero_point
        ends = np.iinfo(self.raw.dtype)
        expected = np.clip(steps, ends.min, ends.max)
        return int(np.abs(self.raw.astype(np.int32) - expected).max())


def predict(interpreter: Any, images: np.ndarray) -> Predictions:
    """Runs a one-input, one-output file of batch 1 on every image.

    Args:
        interpreter: a LiteRT interpreter, ours or the stock one.
        images: float32 `(N, height, width, channels)`.
    """
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    (exit_,) = interpreter.get_output_details()
    grid = BY_TYPE.get(np.dtype(entry["dtype"]))
    if grid is not None:
        scale, zero_point = entry["quantization"]
        images = grid.quantized(images, float(np.float32(scale)), zero_point)
    rows = []
    for image in images:
        interpreter.set_tensor(entry["index"], image[np.newaxis])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(exit_["index"])[0])
    scale, zero_point = exit_["quantization"]
    return Predictions(np.stack(rows), scale, zero_point)


def to_float_file(model: keras.Model, path: Path) -> None:
    """Writes a functional model as a float LiteRT file."""
    import tensorflow as tf

    from qsparse.tflite_export.files.quiet import quiet

    # The converter prints the signature of what it saves.
    with quiet(), contextlib.redirect_stdout(io.StringIO()):
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
