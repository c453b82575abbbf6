"""What a pretrained network gets right, as a Keras model and as a LiteRT file."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import keras
import numpy as np

from qsparse.recipes.efficientnet_lite import normalize
from qsparse.recipes.photos import load_photos
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.runtime.everywhere import (
    Outputs,
    Sample,
    run_litert,
    stored_samples,
)

# A Keras model, or the path of a `.tflite` file.
Model: TypeAlias = keras.Model | str | os.PathLike
Inputs = np.ndarray | dict[str, np.ndarray]
Run = Callable[[bytes, list[Sample]], list[Outputs]]


def outputs(model: Model, inputs: Inputs, run: Run = run_litert) -> np.ndarray:
    """Returns what a network with one output computes.

    Args:
        model: a Keras model, or the path of a `.tflite` file of batch 1.
        inputs: an array, or a dict of arrays by name, with N samples each.
        run: what runs a file, one of `runtimes.RUNTIMES`.

    Returns:
        float32 `(N, ...)`, dequantized where the file returns int8.

    Raises:
        ValueError: the file has another batch, other inputs, or several outputs.
    """
    if isinstance(model, keras.Model):
        return np.asarray(model.predict(inputs, verbose=0))
    content = Path(model).read_bytes()
    file = ModelFile(content)
    data = inputs if isinstance(inputs, dict) else {"input": inputs}
    taken = sorted(file.signature()[0])
    named = len(taken) == len(data) == 1 or taken == sorted(data)
    batches = {tensor.shape[0] for tensor in file.inputs}
    if not named or batches != {1} or len(file.outputs) != 1:
        raise ValueError(
            f"{str(model)!r} takes {taken} in batches of {sorted(batches)} and has "
            f"{len(file.outputs)} outputs; needed are {sorted(data)} in batches of 1, "
            "and one output."
        )
    (result,) = file.outputs
    values = np.concatenate([o for (o,) in run(content, stored_samples(file, data))])
    if result.dtype != np.int8:
        return values
    steps = values.astype(np.float32) - np.float32(result.zero_points[0])
    return np.float32(result.scales[0]) * steps


def photo_predictions(model: Model, run: Run = run_litert) -> np.ndarray:
    """Returns the most likely class of each of the `photos.PHOTOS`.

    Args:
        model: EfficientNet-Lite0 in any form that `outputs` takes.
        run: as in `outputs`.

    Returns:
        int64 `(6,)`, ImageNet classes in [0, 999].
    """
    return outputs(model, normalize(load_photos()), run).argmax(axis=1)


def share_right(
    model: Model, inputs: Inputs, labels: np.ndarray, run: Run = run_litert
) -> float:
    """Returns the share of samples, in [0, 1], whose greatest output is the label's.

    Args:
        model: a classifier in any form that `outputs` takes.
        inputs: as in `outputs`.
        labels: int64 `(N,)`.
        run: as in `outputs`.
    """
    return float((outputs(model, inputs, run).argmax(axis=1) == labels).mean())


def sentence_embeddings(
    model: Model, sentences: Sequence[str], length: int, run: Run = run_litert
) -> np.ndarray:
    """Returns the embeddings of sentences, each of length 1.

    Args:
        model: `minilm.encoder(length)` in any form that `outputs` takes.
        sentences: what to embed.
        length: tokens per sentence.
        run: as in `outputs`.

    Returns:
        float32 `(N, 384)`. The row-wise inner product with those of another form
        of the model is their cosine.
    """
    from qsparse.recipes.minilm import embed, tokenize

    tokens = tokenize(sentences, length)
    return embed(outputs(model, tokens, run), tokens["padding_mask"])
