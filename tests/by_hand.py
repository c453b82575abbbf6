"""A perceptron that is pruned and rounded by hand, in numpy."""

import numpy as np

from qsparse import NM, Recipe

RECIPE = Recipe("2:4", format="int4", observer="min-max")
ARMS = ("dense", "pruned", "quantized", "S->Q", "Q->S")


def mask(weights):
    """Return the 2:4 mask of `(inputs, outputs)`, by magnitude."""
    return NM(2, 4).mask(np.abs(weights)[np.newaxis])[0]


def int4(weights):
    """Return weights on 15 levels, with a scale for each output."""
    scale = np.abs(weights).max(axis=0) / np.float32(7)
    scale = np.where(scale > 0, scale, np.float32(1))
    return np.round(weights / scale) * scale


def forms(weights, rounds=int4):
    """Return weights `(inputs, outputs)` as they are in every arm."""
    return {
        "dense": weights,
        "pruned": weights * mask(weights),
        "quantized": rounds(weights),
        "S->Q": rounds(weights * mask(weights)),
        "Q->S": rounds(weights) * mask(rounds(weights)),
    }


def int8(x, low, high):
    """Return activations on 256 levels between two limits, one of which is 0."""
    scale = (high - low) / 255
    zero = np.clip(np.round(-low / scale), 0, 255)
    return (np.clip(np.round(x / scale) + zero, 0, 255) - zero) * scale


class Perceptron:
    """What a `perceptron.mlp` computes; ranges grow by what it has seen.

    Args:
        weights: kernel and bias of both layers.
        rounds: whether what flows in and out is rounded.
    """

    def __init__(self, weights, rounds):
        self.weights, self.rounds = [np.float64(w) for w in weights], rounds
        self.ranges = np.zeros((3, 2))
        self.flows = []

    def _rounded(self, x, place, learns):
        self.flows.append(x)
        if learns:
            low, high = self.ranges[place]
            self.ranges[place] = min(low, x.min()), max(high, x.max())
        return int8(x, *self.ranges[place]) if self.rounds else x

    def __call__(self, x, learns=False):
        first, bias, second, end = self.weights
        self.flows = []
        x = np.maximum(self._rounded(np.float64(x), 0, learns) @ first + bias, 0)
        return self._rounded(self._rounded(x, 1, learns) @ second + end, 2, learns)


def perceptrons(model, batches, made=forms):
    """Return a `Perceptron` for each arm, that has seen all batches."""
    first, bias, second, end = model.get_weights()
    first, second = made(first), made(second)
    found = {}
    for arm in ARMS:
        one = Perceptron((first[arm], bias, second[arm], end), "Q" in arm.upper())
        for x in batches:
            one(x, learns=True)
        found[arm] = one
    return found


def loss(logits, y):
    """Return the mean loss of a batch."""
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=1, keepdims=True)
    return (np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]).mean()


def norm(values):
    return float(np.linalg.norm(np.asarray(values, np.float64)))
