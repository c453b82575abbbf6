"""What the studies train: networks, and the data they learn from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from qsparse.recipes import fashion_mnist
from qsparse.recipes.resnet import resnet

# Inputs of a network, an array or a dict of them, and labels.
Labelled = tuple[Any, np.ndarray]
Split = tuple[Labelled, Labelled]


def images() -> Split:
    """Returns the images of Fashion-MNIST that travel with us."""
    return fashion_mnist.load_normalized()


@dataclass(frozen=True)
class Task:
    """A network and how it is trained, in two calls of `fit`.

    Attributes:
        build: makes the untrained network, whose outputs are logits.
        rate: AdamW's learning rate at the begin of each call; along a cosine it falls
            to a tenth.
        decay: AdamW's weight decay.
        warm_up: epochs of the first call.
        finish: epochs of the second.
        batch: samples of a step.
        data: returns `(x_train, y_train), (x_test, y_test)`.
        reports: "accuracy", or "perplexity" of a language model.
    """

    build: Callable[[], keras.Model]
    rate: float
    decay: float
    warm_up: int
    finish: int
    batch: int = 64
    data: Callable[[], Split] = images
    reports: str = "accuracy"

    def samples(self, share: float) -> Split:
        """Returns the data.

        Args:
            share: of the samples to train on, in (0, 1]; every so many-th.
        """
        (x, y), test = self.data()
        every = round(1 / share)
        return (keras.tree.map_structure(lambda a: a[::every], x), y[::every]), test

    def compile(self, model: keras.Model, epochs: int, samples: int) -> keras.Model:
        """Compiles a network for one call of `fit`, and returns it.

        Args:
            model: of `build`.
            epochs: of the call.
            samples: of an epoch.
        """
        steps = epochs * -(-samples // self.batch)
        rate = keras.optimizers.schedules.CosineDecay(self.rate, steps, alpha=0.1)
        model.compile(
            keras.optimizers.AdamW(rate, weight_decay=self.decay),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            # A network is traced anew in each phase. To compile that took 20 of 44
            # seconds of 200 steps (AMD EPYC), and steps are as fast without.
            jit_compile=False,
        )
        return model


def _resnet() -> keras.Model:
    return resnet(widths=(32, 64))


def _vit() -> keras.Model:
    from qsparse.recipes.vit import vit  # needs keras-hub

    return vit(patch=7, width=96, blocks=2)


def _minilm() -> keras.Model:
    from qsparse.recipes.sentiment import classifier  # needs keras-hub

    return classifier(_SENTENCE)


def _opt() -> keras.Model:
    from qsparse.recipes.opt import opt  # needs keras-hub

    return opt(_TEXT)


def _sentences() -> Split:
    from qsparse.recipes.minilm import tokenize
    from qsparse.recipes.movie_sentences import load_split

    train, test = (
        (tokenize(part.texts, _SENTENCE), part.labels)
        for part in load_split(3000, 1000)
    )
    return train, test


def _text() -> Split:
    from qsparse.recipes.movie_sentences import load_split
    from qsparse.recipes.opt import windows

    train, test = load_split(3000, 400)
    return windows("\n".join(train.texts), _TEXT), windows("\n".join(test.texts), _TEXT)


# Tokens of a sentence, and characters of a piece of text.
_SENTENCE, _TEXT = 32, 64

# Small, for there are more than a thousand runs, and because seeds tell methods apart
# where size does not. The ResNet is the demo's at a third of the width, trained as it
# is there; MiniLM is the real one, fine-tuned on sentences of film reviews, which the
# OPT learns to write character by character.
TASKS = {
    "resnet": Task(_resnet, rate=2e-3, decay=1e-3, warm_up=3, finish=5),
    "vit": Task(_vit, rate=1e-3, decay=1e-2, warm_up=6, finish=6),
    "minilm": Task(_minilm, 1e-4, 1e-2, warm_up=1, finish=1, batch=16, data=_sentences),
    "opt": Task(_opt, 3e-3, 1e-2, 3, 3, batch=16, data=_text, reports="perplexity"),
}
