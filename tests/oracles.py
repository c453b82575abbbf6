"""Slow, plain numpy oracles for masks, schedules, int8 grids and gradients.

Written from the formulas alone, without sight of the code they judge.

* Weights and scores are canonical: ``(taps, inputs, outputs)``. ``taps`` are kernel
  positions (kh*kw), ``inputs`` the reduction axis, ``outputs`` the output channels.
* A mask is bool, True = kept. A score is |w|, handed in by the caller.
* A tile is ``bo`` outputs x ``bi`` inputs at one tap. Its score is the sum of its
  scores: correctly rounded float64 (``math.fsum``), so it has no summation order.
* Ties keep the LOWER flat index (C order over the grid named in each function).
* Counts round half up: ``floor(x + 0.5)`` evaluated in float64.
"""

import math

import numpy as np

F32 = np.float32


def round_half_up(value):
    """Return floor(value + 0.5) as int."""
    return int(math.floor(value + 0.5))


def _check_sparsity(sparsity):
    if not 0.0 <= sparsity < 1.0:
        raise ValueError(f"sparsity must be in [0, 1), got {sparsity}")


def _lowest(scores, count):
    """Return the flat indices to zero: lowest score first, of equals the LAST first."""
    flat = [float(s) for s in np.asarray(scores).reshape(-1)]
    if any(math.isnan(s) for s in flat):
        raise ValueError("NaN score")
    return sorted(range(len(flat)), key=lambda i: (flat[i], -i))[:count]


def tile_scores(scores, bo, bi):
    """Sum scores per tile: grid ``(taps, inputs/bi, outputs/bo)``, float64."""
    taps, inputs, outputs = scores.shape
    if inputs % bi or outputs % bo:
        raise ValueError(f"{scores.shape} has no whole tiles of {bo} out x {bi} in")
    grid = np.zeros((taps, inputs // bi, outputs // bo), np.float64)
    for t, i, o in np.ndindex(*grid.shape):
        tile = scores[t, i * bi : (i + 1) * bi, o * bo : (o + 1) * bo]
        grid[t, i, o] = math.fsum(float(s) for s in tile.reshape(-1))
    return grid


def expand_tiles(grid, bo, bi):
    """Inverse of tiling for a bool grid: every weight gets its tile's value."""
    taps, rows, columns = grid.shape
    mask = np.zeros((taps, rows * bi, columns * bo), bool)
    for t, i, o in np.ndindex(*grid.shape):
        mask[t, i * bi : (i + 1) * bi, o * bo : (o + 1) * bo] = grid[t, i, o]
    return mask


def unstructured_mask(scores, sparsity, spare=False):
    """Zero exactly round_half_up(sparsity * size) lowest scores; any shape.

    ``spare``: along the last axis every output keeps its best score (of equals the
    one of lowest index), so at most ``size - outputs`` are zeroed.
    """
    _check_sparsity(sparsity)
    count, spared = round_half_up(sparsity * scores.size), set()
    if spare:
        outputs = scores.shape[-1]
        flat = [float(s) for s in scores.reshape(-1)]
        for output in range(outputs):
            column = range(output, scores.size, outputs)
            spared.add(min(column, key=lambda i: (-flat[i], i)))
        count = min(count, scores.size - outputs)
    keep = np.ones(scores.size, bool)
    order = [i for i in _lowest(scores, scores.size) if i not in spared]
    for index in order[:count]:
        keep[index] = False
    return keep.reshape(scores.shape)


def block_mask(scores, shape, sparsity, spare=False):
    """Zero exactly round_half_up(sparsity * blocks) lowest blocks; shape=(bo, bi)."""
    bo, bi = shape
    grid = unstructured_mask(tile_scores(scores, bo, bi), sparsity, spare)
    return expand_tiles(grid, bo, bi)


def nm_mask(scores, n, m, block=(1, 1), sparsity=None):
    """Keep the n best of every m consecutive tiles along ``inputs``; block=(bo, bi).

    Groups are formed per tap and output tile; a tie keeps the lower input position.
    Gradual: with f = 1 - n/m and sparsity s < f, only
    ``round_half_up(s / f * groups)`` groups obey, the rest stay dense: the groups whose
    pruned mass (sum of the tile scores that would go) is smallest obey first, ties
    by lower flat index in C order over ``(taps, input groups, output tiles)``.
    """
    if not 1 <= n <= m:
        raise ValueError(f"need 1 <= n <= m, got {n}:{m}")
    bo, bi = block
    grid = tile_scores(scores, bo, bi)
    taps, rows, columns = grid.shape
    if rows % m:
        raise ValueError(f"{rows} tiles along inputs are no whole groups of {m}")
    keep = np.ones(grid.shape, bool)
    mass = np.zeros((taps, rows // m, columns), np.float64)
    for t, g, o in np.ndindex(*mass.shape):
        zeroed = _lowest(grid[t, g * m : (g + 1) * m, o], m - n)
        for position in zeroed:
            keep[t, g * m + position, o] = False
        mass[t, g, o] = math.fsum(grid[t, g * m + position, o] for position in zeroed)
    final = 1.0 - n / m
    if sparsity is not None and sparsity < final:
        _check_sparsity(sparsity)
        count = round_half_up(sparsity / final * mass.size)
        flat = [float(value) for value in mass.reshape(-1)]
        by_mass = sorted(range(len(flat)), key=lambda i: (flat[i], i))
        for index in by_mass[count:]:
            t, g, o = np.unravel_index(index, mass.shape)
            keep[t, g * m : (g + 1) * m, o] = True
    return expand_tiles(keep, bo, bi)


def cubic(step, begin, end, initial, final):
    """Zhu-Gupta: s_f + (s_i - s_f) * (1 - clip((t - t0)/(t1 - t0), 0, 1))^3.

    The ends are returned exactly. If end == begin: final from begin on.
    """
    if end < begin:
        raise ValueError("end lies before begin")
    if step >= end:
        return float(final)
    if step <= begin:
        return float(initial)
    progress = (step - begin) / (end - begin)
    return final + (initial - final) * (1.0 - progress) ** 3


def int8_weight_scale(w):
    """Return max|w| / 127 per output channel in float32; 1 where that is 0."""
    w = np.asarray(w, F32)
    scale = np.ones(w.shape[-1], F32)
    for o in range(w.shape[-1]):
        value = F32(np.max(np.abs(w[..., o]))) / F32(127)
        if value > 0:  # 0: an all-zero channel, or one so small that it underflows
            scale[o] = value
    return scale


def int8_weights(w):
    """Return (q, scale): q = clip(round_half_even(float32 w / scale), -127, 127)."""
    w = np.asarray(w, F32)
    scale = int8_weight_scale(w)
    q = np.clip(np.rint(w / scale), -127, 127).astype(np.int8)  # rint: half to even
    return q, scale


def fake_quant_weights(w):
    """Return q * scale in float32."""
    q, scale = int8_weights(w)
    return q.astype(F32) * scale


def s_then_q(w, mask):
    """Return S->Q: fake_quant(w * mask); the scale comes from the MASKED weight."""
    return fake_quant_weights(np.where(mask, np.asarray(w, F32), F32(0)))


def q_then_s(w, mask):
    """Return Q->S: mask * fake_quant(w); the scale comes from the DENSE weight."""
    return np.where(mask, fake_quant_weights(w), F32(0))


def activation_grid(minimum, maximum):
    """Asymmetric 8-bit grid, nudged so that 0 is on it (FakeQuantWithMinMaxVars).

    All in float32: [lo, hi] = [min(minimum, 0), max(maximum, 0)],
    scale = (hi - lo)/255, z = clip(round_half_away(-lo/scale), 0, 255),
    nudged range = [(0 - z)*scale, (255 - z)*scale], int8 zero point = z - 128.
    Returns (scale, zero_point, nudged_min, nudged_max); ValueError for [0, 0].
    """
    lo, hi = min(F32(minimum), F32(0)), max(F32(maximum), F32(0))
    if lo == hi:
        raise ValueError("range [0, 0] has no grid")
    scale = (hi - lo) / F32(255)
    from_min = float(F32(0) - lo / scale)  # >= 0, so half away from zero = half up
    z = min(max(round_half_up(from_min), 0), 255)
    return scale, z - 128, (F32(0) - F32(z)) * scale, (F32(255) - F32(z)) * scale


def fake_quant_activation(x, minimum, maximum):
    """Return floor((clip(x) - nudged_min)/scale - z + 0.5) * scale, in float32.

    Each operation rounds to float32, in the order of TensorFlow's ...MinMaxVars CPU
    kernel (TF 2.21): bit-equal to it. (...MinMaxArgs multiplies by
    255/(hi - lo) instead of dividing by scale: within rounding of a midpoint between
    two codes it may land one whole step away, elsewhere it is bit-equal too.)
    The empty range [0, 0] gives zeros, as in TensorFlow.
    """
    x = np.asarray(x, F32)
    if min(F32(minimum), F32(0)) == max(F32(maximum), F32(0)):
        return np.zeros_like(x)
    scale, zero_point, nudged_min, nudged_max = activation_grid(minimum, maximum)
    shifted = np.maximum(np.minimum(x, nudged_max), nudged_min) - nudged_min
    return np.floor(shifted / scale - F32(zero_point + 128) + F32(0.5)) * scale


def ema(previous, value, momentum):
    """Return momentum * previous + (1 - momentum) * value."""
    return momentum * previous + (1.0 - momentum) * value


def ste_gradient(upstream, w, mask):
    """Straight-through: dL/dw = dL/dw_effective, for kept and pruned alike."""
    return np.asarray(upstream)


def masked_gradient(upstream, w, mask):
    """Return dL/dw = dL/dw_effective * mask."""
    return np.asarray(upstream) * mask


def sr_ste_gradient(upstream, w, mask, decay):
    """SR-STE: dL/dw = dL/dw_effective + decay * (1 - mask) * w."""
    return upstream + decay * (1 - np.asarray(mask, np.asarray(w).dtype)) * w


def flip_rate(mask_a, mask_b):
    """Hamming distance / size."""
    a, b = np.asarray(mask_a, bool).reshape(-1), np.asarray(mask_b, bool).reshape(-1)
    if a.size != b.size:
        raise ValueError("masks differ in size")
    return sum(int(p != q) for p, q in zip(a, b, strict=True)) / a.size
