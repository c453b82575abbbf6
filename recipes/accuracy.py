"""What a pretrained network gets right, as a Keras model and as a LiteRT file."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from qsparse.recipes.efficientnet_lite import normalize
from qsparse.recipes.photos import load_photos
from qsparse.tflite_export.runtime import plain_interpreter
from qsparse.tflite_export.verify import quantize_input


def outputs(model: Any, inputs: Any, batch_size: int = 32) -> np.ndarray:
    """Return what a network with one output computes.

    Args:
        model: a Keras model, the path of a `.tflite` file (run by the stock
            interpreter), or a LiteRT interpreter, ours or the stock one.
        inputs: an array, or a dict of arrays by name, with N samples each.
        batch_size: samples that a Keras model takes at once; a file has its own.

    Returns:
        float32 `(N, ...)`, dequantized where the file returns int8.

    Raises:
        ValueError: the file has other inputs, several outputs, or a batch that
            does not divide N.
    """
    if isinstance(model, keras.Model):
        return np.asarray(model.predict(inputs, batch_size=batch_size, verbose=0))
    if isinstance(model, str | os.PathLike):
        model = plain_interpreter(model)
    runner = model.get_signature_runner()
    entries = runner.get_input_details()
    if not isinstance(inputs, dict):
        inputs = dict.fromkeys(entries, inputs) if len(entries) == 1 else {"?": inputs}
    results = runner.get_output_details()
    if set(inputs) != set(entries) or len(results) != 1:
        raise ValueError(
            f"the file takes {sorted(entries)} and returns {sorted(results)}; needed "
            f"are one output and the inputs {sorted(inputs)}."
        )
    ((name, result),) = results.items()
    batch = int(next(iter(entries.values()))["shape"][0])
    count = len(next(iter(inputs.values())))
    if count % batch:
        raise ValueError(f"the file takes {batch} samples at once; {count} were given.")
    rows = []
    for start in range(0, count, batch):
        fed = {
            key: _stored(inputs[key][start : start + batch], entry)
            for key, entry in entries.items()
        }
        rows.append(_real(runner(**fed)[name], result))
    return np.concatenate(rows)


def photo_predictions(model: Any) -> np.ndarray:
    """Return the most likely class of each of the `photos.PHOTOS`.

    Args:
        model: EfficientNet-Lite0 in any form that `outputs` takes.

    Returns:
        int64 `(6,)`, ImageNet classes in [0, 999].
    """
    return outputs(model, normalize(load_photos())).argmax(axis=1)


def share_right(model: Any, inputs: Any, labels: np.ndarray) -> float:
    """Return the share of samples, in [0, 1], whose greatest output is the label's.

    Args:
        model: a classifier in any form that `outputs` takes.
        inputs: as in `outputs`.
        labels: int64 `(N,)`.
    """
    return float((outputs(model, inputs).argmax(axis=1) == labels).mean())


def sentence_embeddings(
    model: Any, sentences: Sequence[str], length: int
) -> np.ndarray:
    """Return the embeddings of sentences, each of length 1.

    Args:
        model: `minilm.encoder(length)` in any form that `outputs` takes.
        sentences: what to embed.
        length: tokens per sentence.

    Returns:
        float32 `(N, 384)`. The row-wise inner product with those of another form
        of the model is their cosine.
    """
    from qsparse.recipes.minilm import embed, tokenize

    tokens = tokenize(sentences, length)
    return embed(outputs(model, tokens), tokens["padding_mask"])


def _stored(values: np.ndarray, entry: dict[str, Any]) -> np.ndarray:
    if entry["dtype"] == np.int8:
        return quantize_input(values, *entry["quantization"])
    return np.asarray(values, entry["dtype"])


def _real(values: np.ndarray, entry: dict[str, Any]) -> np.ndarray:
    if entry["dtype"] != np.int8:
        return values
    scale, zero_point = entry["quantization"]
    return np.float32(scale) * (values.astype(np.float32) - np.float32(zero_point))
