"""Naive oracles of one-shot methods: inverses from scratch, one row at a time."""

import numpy as np


def damped(x, share=0.01):
    """Return `X X^T` with a share of its mean diagonal added."""
    h = np.zeros((len(x), len(x)))
    for column in x.T:
        h += np.outer(column, column)
    return h + share * np.mean([h[j, j] for j in range(len(h))]) * np.eye(len(h))


def best(w, h, kept):
    """Return the weights on `kept` that reproduce `w` best under `h`."""
    found = np.zeros_like(w)
    kept = sorted(kept)
    if kept:
        system = h[np.ix_(kept, kept)]
        found[kept] = np.linalg.lstsq(system, (h @ w)[kept], rcond=None)[0]
    return found


def cost(w, h, kept):
    """Return what the error under `h` is if only `kept` may be other than zero."""
    d = best(w, h, kept) - w
    return d @ h @ d


def obs_order(rows, h, tile, allowed):
    """Return the tiles in the order they go, and by how much each adds to the error.

    Args:
        rows: weights of the rows of a tile, `(outputs, columns)`.
        h: damped.
        tile: columns of a tile.
        allowed: of the tiles gone so far -> which may go next.
    """
    tiles = h.shape[0] // tile
    gone, order = [], []

    def total(without):
        kept = [j for j in range(h.shape[0]) if j // tile not in without]
        return sum(cost(w, h, kept) for w in rows)

    while True:
        candidates = [t for t in range(tiles) if t not in gone and allowed(gone, t)]
        if not candidates:
            return order
        now = total(gone)
        added = {t: total([*gone, t]) - now for t in candidates}
        chosen = min(candidates, key=lambda t: (added[t], -t))
        gone.append(chosen)
        order.append((chosen, added[chosen]))


def sweep_mask(w, h, group, keep):
    """Return SparseGPT's N:M mask, each inverse made anew from what is left of H."""
    w, columns = w.copy(), h.shape[0]
    mask = np.ones(w.shape, bool)
    for j in range(columns):
        inverse = np.linalg.inv(h[j:, j:])
        if j % group == 0:
            score = np.zeros((len(w), group))
            for k in range(group):
                ahead = np.linalg.inv(h[j + k :, j + k :])
                score[:, k] = w[:, j + k] ** 2 / ahead[0, 0]
            for r in range(len(w)):
                going = sorted(range(group), key=lambda k: (score[r, k], k))
                mask[r, [j + k for k in going[: group - keep]]] = False
        for r in range(len(w)):
            kept = w[r, j] if mask[r, j] else 0.0
            error = (w[r, j] - kept) / inverse[0, 0]
            w[r, j:] -= error * inverse[0]
            w[r, j] = kept
    return mask


def gptq(w, h, order, to_grid):
    """Return a row rounded in `order`, the rest moved each time by the exact update."""
    w, found = w.copy(), np.zeros_like(w)
    left = list(order)
    while left:
        j = left[0]
        inverse = np.linalg.inv(h[np.ix_(left, left)])
        found[j] = to_grid(j, w[j])
        w[left] -= (w[j] - found[j]) / inverse[0, 0] * inverse[0]
        left = left[1:]
    return found
