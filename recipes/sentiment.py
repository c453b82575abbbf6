"""MiniLM learns to tell praise from panning, first in float, then in int8.

One epoch in float, then a shorter one with int8 fake quantization, on sentences of
film reviews. Each phase is written to a folder when it is done; what stands there
is loaded, not trained again.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import qsparse
from qsparse.callbacks import Quantize
from qsparse.recipes.minilm import minilm, token_inputs, tokenize
from qsparse.recipes.movie_sentences import Sentences, load_split


@dataclass(frozen=True)
class Setting:
    """How it is trained.

    Attributes:
        train: sentences of the float epoch.
        quantized_train: how many of them are seen again with fake quantization.
        test: other sentences, to measure accuracy on.
        length: tokens per sentence; 4% of the sentences are longer and are cut.
        batch: sentences per step.
        rate: learning rate at the beginning of the float epoch.
        quantized_rate: the same with fake quantization.
        seed: of the split and the training.
    """

    train: int = 4000
    quantized_train: int = 2000
    test: int = 1000
    length: int = 48
    batch: int = 16
    rate: float = 1e-4
    quantized_rate: float = 2e-5
    seed: int = 0


@dataclass(frozen=True)
class FineTuned:
    """What training gave.

    Attributes:
        float_model: after the float epoch. Takes what `minilm.tokenize` returns,
            returns logits `(N, 2)`.
        quantized_model: after the int8 epoch; carries its recipe and ranges.
        train_inputs: tokens of the training sentences, to calibrate with.
        test_inputs: tokens of the test sentences.
        test_labels: int64 `(N,)`, 1 for praise.
    """

    float_model: keras.Model
    quantized_model: keras.Model
    train_inputs: dict[str, np.ndarray]
    test_inputs: dict[str, np.ndarray]
    test_labels: np.ndarray


def fine_tune(
    folder: str | os.PathLike, setting: Setting = Setting(), verbose: Any = "auto"
) -> FineTuned:
    """Trains, or load what an earlier call with the same setting trained.

    Args:
        folder: for the two `.keras` files. Created if missing.
        setting: how to train.
        verbose: as in `keras.Model.fit`.

    Raises:
        qsparse.recipes.weights.archives.ArchiveError: weights or sentences cannot be
            had.
    """
    train, test = load_split(setting.train, setting.test, setting.seed)
    inputs = tokenize(train.texts, setting.length)
    name = hashlib.sha256(repr(setting).encode()).hexdigest()[:12]
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)

    def in_float() -> keras.Model:
        return _train_in_float(inputs, train, setting, verbose)

    def in_int8() -> keras.Model:
        return _train_in_int8(float_path, inputs, train, setting, verbose)

    float_path = path / f"minilm-sentiment-{name}.float.keras"
    float_model = _load_or_make(float_path, in_float)
    return FineTuned(
        float_model,
        _load_or_make(path / f"minilm-sentiment-{name}.int8.keras", in_int8),
        inputs,
        tokenize(test.texts, setting.length),
        test.labels,
    )


def classifier(length: int) -> keras.Model:
    """Returns the pretrained MiniLM with an untrained head of two logits."""
    inputs = token_inputs(length)
    x = minilm()(inputs)["pooled_output"]
    x = keras.layers.Dropout(0.1, name="dropout")(x)
    logits = keras.layers.Dense(2, name="logits")(x)
    return keras.Model(inputs, logits, name="minilm_sentiment")


def _load_or_make(path: Path, make: Callable[[], keras.Model]) -> keras.Model:
    """Returns the model of a file, which is written first if it does not stand."""
    if path.exists():
        return qsparse.load_model(path)
    model = make()
    part = path.with_name(f"part-{os.getpid()}-{path.name}")
    try:
        model.save(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return model


def _train_in_float(
    inputs: dict[str, np.ndarray], sentences: Sentences, setting: Setting, verbose: Any
) -> keras.Model:
    keras.utils.set_random_seed(setting.seed)
    model = classifier(setting.length)
    steps = -(-setting.train // setting.batch)
    _compile(model, setting.rate, steps)
    model.fit(
        inputs, sentences.labels, batch_size=setting.batch, epochs=1, verbose=verbose
    )
    return model


def _train_in_int8(
    float_path: Path,
    inputs: dict[str, np.ndarray],
    sentences: Sentences,
    setting: Setting,
    verbose: Any,
) -> keras.Model:
    model = keras.models.load_model(float_path)
    keras.utils.set_random_seed(setting.seed)
    count = setting.quantized_train
    _compile(model, setting.quantized_rate, -(-count // setting.batch))
    model.fit(
        {name: array[:count] for name, array in inputs.items()},
        sentences.labels[:count],
        batch_size=setting.batch,
        epochs=1,
        verbose=verbose,
        callbacks=[Quantize()],
    )
    return model


def _compile(model: keras.Model, rate: float, steps: int) -> None:
    model.compile(
        keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(rate, steps), weight_decay=0.01
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # Compiling the program takes longer than it saves in so few steps.
        jit_compile=False,
    )
