"""Layers of random weights and correlated inputs, some of them dead."""

from dataclasses import dataclass

import numpy as np

from qsparse.methods.criteria import Magnitude
from qsparse.oneshot.problem import Problem
from qsparse.planning.plan import LayerPlan


@dataclass
class Layer:
    """A problem, and the inputs it was made of."""

    problem: Problem
    inputs: np.ndarray


def layer(seed, shape, samples=40, dead=0, memory=1 << 24):
    """Return a layer of canonical `shape` on `samples` correlated inputs."""
    rng = np.random.default_rng(seed)
    taps, inputs, outputs = shape
    columns = taps * inputs
    mixing = rng.normal(size=(columns, columns)) * rng.uniform(0.1, 2, (1, columns))
    x = mixing @ rng.normal(size=(columns, samples))
    x[rng.permutation(columns)[:dead]] = 0.0
    weights = rng.normal(size=(outputs, columns))
    return Layer(Problem(weights, x @ x.T, shape, memory=memory), x)


def plan(pattern, sparsity=None, format=None):
    """Return the plan of a layer that is pruned, and rounded to a format."""
    return LayerPlan(
        path="a",
        kind="Dense",
        pattern=pattern,
        criterion=Magnitude(),
        sparsity=0.0 if pattern is None else pattern.final_sparsity(sparsity),
        weight_format=format,
    )
