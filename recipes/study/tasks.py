"""What the studies train: networks on the Fashion-MNIST that travels with us."""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from qsparse.recipes import fashion_mnist
from qsparse.recipes.fashion_mnist import Arrays
from qsparse.recipes.resnet import resnet


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
        batch: images of a step.
    """

    build: Callable[[], keras.Model]
    rate: float
    decay: float
    warm_up: int
    finish: int
    batch: int = 64

    def compile(self, model: keras.Model, epochs: int, images: int) -> keras.Model:
        """Compiles a network for one call of `fit`, and returns it.

        Args:
            model: of `build`.
            epochs: of the call.
            images: of an epoch.
        """
        steps = epochs * -(-images // self.batch)
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


# Small, for there are more than a thousand runs, and because seeds tell methods apart
# where size does not. The ResNet is the demo's at a third of the width, trained as it
# is there.
TASKS = {
    "resnet": Task(_resnet, rate=2e-3, decay=1e-3, warm_up=3, finish=5),
    "vit": Task(_vit, rate=1e-3, decay=1e-2, warm_up=6, finish=6),
}


def images(share: float = 1.0) -> tuple[Arrays, Arrays]:
    """Returns `(x_train, y_train), (x_test, y_test)`.

    Args:
        share: of the training images, in (0, 1]; all classes equally, as far as it
            goes.
    """
    (x, y), test = fashion_mnist.load_normalized()
    every = round(1 / share)
    return (x[::every], y[::every]), test
