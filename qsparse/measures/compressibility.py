"""Compressibility: how unequal the weights of a layer are, and what that suggests."""

import math
import re
from dataclasses import dataclass

import keras
import numpy as np

from qsparse.engine.kernel import KernelCompression
from qsparse.engine.state import compression_of
from qsparse.keras_compat import own_kernel, walk_layers
from qsparse.methods.validate import real
from qsparse.planning.rules import Rule
from qsparse.planning.targets import PRUNABLE


@dataclass(frozen=True)
class Compressibility:
    """The PQ index of a layer.

    Attributes:
        path: where the layer lies in the model.
        weights: how many its kernel has.
        active: how many of them are not zero, or pruned.
        index: in [0, 1): 0 if all active ones are equal in size, larger the more a few
            of them carry.
        prune: how many more the index suggests to prune.
    """

    path: str
    weights: int
    active: int
    index: float
    prune: int

    @property
    def sparsity(self) -> float:
        """The share of zeros with those that are suggested, in [0, 1]."""
        return 1.0 - (self.active - self.prune) / self.weights


@dataclass(frozen=True)
class PQReport:
    """What `pq_index` found, layer by layer; prints as a table."""

    rows: tuple[Compressibility, ...]

    def rules(self) -> list[Rule]:
        """Returns the suggestions as rules of a recipe, one for each layer."""
        return [
            Rule(regex=f"^{re.escape(row.path)}$", sparsity=row.sparsity)
            for row in self.rows
        ]

    def __str__(self) -> str:
        width = max(len(row.path) for row in self.rows)
        lines = [f"{'layer':<{width}}  weights   active  index  suggested zeros"]
        lines += [
            f"{row.path:<{width}}  {row.weights:7}  {row.active:7}  {row.index:.3f}"
            f"  {row.sparsity:15.1%}"
            for row in self.rows
        ]
        return "\n".join(lines)


def pq_index(
    model: keras.Model,
    *,
    p: float = 0.5,
    q: float = 1.0,
    eta: float = 0.0,
    gamma: float = 1.0,
    beta: float = 0.9,
) -> PQReport:
    """Returns how many weights each layer could lose, by its weights alone.

    The PQ index of the d active weights w of a layer is
    I = 1 - d^(1/q - 1/p) ||w||_p / ||w||_q (Diao et al., 2023, "Pruning Deep Neural
    Networks from a Sparsity Perspective"). At least
    m = ceil(d (1 + eta)^(-q/(q-p)) (1 - I)^(qp/(q-p))) of them have to stay, and
    floor(d min(max(gamma (1 - m/d), 0), beta)) are suggested to go: one round of SAP,
    which trains and measures anew between rounds. Magnitude has to rank them; a
    pattern of blocks or N:M needs more weights than this counts.

    It is an analysis and no allocation: an allocation sees the scores of all weights,
    and not which of them are active still.

    Args:
        model: any built model, compressed or not; it is left as it is.
        p: the lower of the two norms, above 0.
        q: the higher one, above `p`.
        eta: above -1; larger prunes more.
        gamma: not negative; a factor of what is pruned.
        beta: the largest share of the active weights that one round prunes, in [0, 1).

    Raises:
        ValueError: if a number is out of its range, or the model has no layer with
            active weights that could be pruned.
    """
    numbers = {"p": p, "q": q, "eta": eta, "gamma": gamma, "beta": beta}
    p, q, eta, gamma, beta = (real(name, value) for name, value in numbers.items())
    if not 0 < p < q:
        raise ValueError(f"p and q must have 0 < p < q. Received: p={p}, q={q}")
    if eta <= -1 or gamma < 0 or not 0 <= beta < 1:
        raise ValueError(
            "`eta` must be above -1, `gamma` not negative and `beta` in [0, 1). "
            f"Received: eta={eta}, gamma={gamma}, beta={beta}"
        )
    rows = []
    for path, layer in walk_layers(model):
        weights = _weights(layer)
        active = np.zeros(0) if weights is None else weights[weights != 0]
        if weights is None or not active.size:
            continue
        count = active.size
        index = _index(active, p, q)
        kept = (1 + eta) ** (-q / (q - p)) * (1 - index) ** (q * p / (q - p))
        bound = math.ceil(count * kept)
        share = min(max(gamma * (1 - bound / count), 0.0), beta)
        prune = math.floor(count * share)
        rows.append(Compressibility(path, weights.size, count, index, prune))
    if not rows:
        raise ValueError(
            f"Model '{model.name}' has no built layer with weights to prune."
        )
    return PQReport(tuple(rows))


def _weights(layer: keras.layers.Layer) -> np.ndarray | None:
    """Returns the kernel's sizes, float64, zero where pruned; None if there is none."""
    kernel = own_kernel(layer) if isinstance(layer, PRUNABLE) and layer.built else None
    if kernel is None:
        return None
    weights = np.abs(kernel.numpy().astype(np.float64))
    child = compression_of(layer)
    if isinstance(child, KernelCompression) and child.mask_variable is not None:
        weights = weights * child.mask_variable.numpy()
    return weights


def _index(active: np.ndarray, p: float, q: float) -> float:
    """Returns the PQ index of positive numbers; scaled first, so that none is lost."""
    scaled = active / active.max()
    norms = [float(np.sum(scaled**n)) ** (1 / n) for n in (p, q)]
    index = 1 - active.size ** (1 / q - 1 / p) * norms[0] / norms[1]
    return min(max(index, 0.0), 1.0)
