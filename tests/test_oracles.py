"""Hand-computed cases and theorems that make the oracles themselves trusted."""

import numpy as np
import pytest

from . import oracles

F32 = np.float32


def column(*values):
    """One tap, one output: the values run along the inputs."""
    return np.asarray(values, F32).reshape(1, -1, 1)


def real_looking(seed, shape=(9, 16, 8)):
    """Heavy-tailed weights with unequal channels and a few exact ties."""
    rng = np.random.default_rng(seed)
    w = rng.standard_t(4, shape) * np.exp(rng.normal(0, 0.7, shape[-1]))
    w = w * np.exp(rng.normal(0, 0.3, (shape[0], 1, 1))) * 0.05
    w[:, 5] = -w[:, 4]
    w[..., -1] = np.round(w[..., -1], 2)
    return w.astype(F32)


def l1(error):
    return float(np.sum(np.abs(error.astype(np.float64))))


# Masks


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, 0), (0.49, 0), (0.5, 1), (1.5, 2), (2.5, 3), (3, 3)]
)
def test_round_half_up(value, expected):
    assert oracles.round_half_up(value) == expected


@pytest.mark.parametrize(
    ("sparsity", "expected"),
    [
        (0.0, [1, 1, 1, 1, 1]),
        (0.09, [1, 1, 1, 1, 1]),  # 0.45 -> 0
        (0.1, [1, 1, 1, 0, 1]),  # 0.5 -> 1: of the ones at 1 and 3, the later goes
        (0.3, [1, 0, 1, 0, 1]),  # 1.5 -> 2
        (0.5, [1, 0, 1, 0, 0]),  # 2.5 -> 3, not 2
        (0.8, [0, 0, 1, 0, 0]),  # 4.0 -> 4: only the 4 stays
    ],
)
def test_unstructured_literal(sparsity, expected):
    scores = column(3, 1, 4, 1, 2)
    mask = oracles.unstructured_mask(scores, sparsity)
    assert mask.dtype == bool and mask.shape == scores.shape
    np.testing.assert_array_equal(mask.reshape(-1), np.asarray(expected, bool))


def test_unstructured_ties_follow_c_order():
    mask = oracles.unstructured_mask(np.ones((2, 2, 2), F32), 0.375)
    expected = [[[1, 1], [1, 1]], [[1, 0], [0, 0]]]
    np.testing.assert_array_equal(mask, np.asarray(expected, bool))


@pytest.mark.parametrize("sparsity", [-0.1, 1.0])
def test_unstructured_refuses(sparsity):
    with pytest.raises(ValueError, match="sparsity"):
        oracles.unstructured_mask(column(1, 2), sparsity)
    with pytest.raises(ValueError, match="NaN"):
        oracles.unstructured_mask(column(1, np.nan), 0.5)


def test_tiles_are_outputs_by_inputs():
    scores = np.arange(8, dtype=F32).reshape(1, 2, 4)  # rows: inputs 0123 / 4567
    np.testing.assert_array_equal(
        oracles.tile_scores(scores, 2, 1), [[[1, 5], [9, 13]]]
    )
    np.testing.assert_array_equal(oracles.tile_scores(scores, 1, 2), [[[4, 6, 8, 10]]])
    np.testing.assert_array_equal(oracles.tile_scores(scores, 4, 2), [[[28]]])
    with pytest.raises(ValueError, match="whole tiles"):
        oracles.tile_scores(scores, 3, 1)


def test_block_literal():
    scores = np.asarray([[[5, 0, 1, 1], [1, 1, 9, 9]]], F32)
    # 2 outputs x 1 input: 5, 2 / 2, 18. One of four goes: the LATER of the two 2s.
    expected = np.asarray([[[1, 1, 1, 1], [0, 0, 1, 1]]], bool)
    np.testing.assert_array_equal(oracles.block_mask(scores, (2, 1), 0.25), expected)
    # 1 output x 2 inputs: 6, 1, 10, 10. 0.375 * 4 = 1.5 -> 2 go.
    expected = np.asarray([[[0, 0, 1, 1], [0, 0, 1, 1]]], bool)
    np.testing.assert_array_equal(oracles.block_mask(scores, (1, 2), 0.375), expected)


def test_block_sums_in_float64():
    # 2**24 + 1 + 1 against 2**24 + 1: float32 sums would lose the ones and tie.
    scores = np.asarray([[[2**24, 1, 0], [2**24, 1, 1]]], F32)
    expected = np.asarray([[[0, 0, 0], [1, 1, 1]]], bool)
    np.testing.assert_array_equal(oracles.block_mask(scores, (3, 1), 0.5), expected)


def test_nm_literal():
    scores = column(1, 2, 3, 4, 7, 7, 7, 7)
    mask = oracles.nm_mask(scores, 2, 4)
    expected = np.asarray([0, 0, 1, 1, 1, 1, 0, 0], bool)
    np.testing.assert_array_equal(mask.reshape(-1), expected)
    mask = oracles.nm_mask(scores, 1, 4)
    expected = np.asarray([0, 0, 0, 1, 1, 0, 0, 0], bool)
    np.testing.assert_array_equal(mask.reshape(-1), expected)
    assert oracles.nm_mask(scores, 4, 4).all()
    with pytest.raises(ValueError, match="groups of 3"):
        oracles.nm_mask(scores, 1, 3)


def test_nm_groups_run_along_inputs_of_each_tap_and_output():
    scores = np.asarray([[[1, 9], [2, 8]], [[4, 5], [4, 6]]], F32)
    expected = [[[0, 1], [1, 0]], [[1, 0], [0, 1]]]
    mask = oracles.nm_mask(scores, 1, 2)
    np.testing.assert_array_equal(mask, np.asarray(expected, bool))


def test_nm_blocks_literal():
    scores = np.asarray([[[5, 0], [3, 3], [2, 2], [0, 1]]], F32)
    # 2 outputs x 1 input: sums 5 6 4 1.
    expected = np.asarray([[[0, 0], [1, 1], [1, 1], [0, 0]]], bool)
    mask = oracles.nm_mask(scores, 1, 2, block=(2, 1))
    np.testing.assert_array_equal(mask, expected)
    # 1 output x 2 inputs: sums 8, 2 for the first output, a tie 3, 3 for the second.
    expected = np.asarray([[[1, 1], [1, 1], [0, 0], [0, 0]]], bool)
    mask = oracles.nm_mask(scores, 1, 2, block=(1, 2))
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(
    ("sparsity", "expected"),
    [
        (0.0, [1, 1, 1, 1, 1, 1]),
        (0.08, [1, 1, 1, 1, 1, 1]),  # 0.16 * 3 = 0.48 -> 0
        (0.25, [1, 0, 1, 0, 1, 1]),  # 1.5 -> 2: mass 1, then the first of 3 and 3
        (0.4, [1, 0, 1, 0, 1, 1]),  # 2.4 -> 2
        (0.45, [1, 0, 1, 0, 1, 0]),  # 2.7 -> 3
        (0.5, [1, 0, 1, 0, 1, 0]),
        (0.9, [1, 0, 1, 0, 1, 0]),  # beyond 1 - n/m: all groups
        (None, [1, 0, 1, 0, 1, 0]),
    ],
)
def test_nm_gradual_literal(sparsity, expected):
    mask = oracles.nm_mask(column(5, 3, 4, 1, 9, 3), 1, 2, sparsity=sparsity)
    np.testing.assert_array_equal(mask.reshape(-1), np.asarray(expected, bool))


def test_nm_gradual_ranks_by_what_goes_not_by_what_stays():
    # Pruned masses 1 + 2 = 3 and 0 + 4 = 4, though the kept 100 is in the first.
    mask = oracles.nm_mask(column(1, 100, 2, 0, 4, 5), 1, 3, sparsity=1 / 3)
    np.testing.assert_array_equal(mask.reshape(-1), [0, 1, 0, 1, 1, 1])


def test_nm_gradual_ties_follow_c_order():
    ones = np.ones((2, 4, 2), F32)  # 2 taps x 2 groups x 2 outputs = 8 groups
    mask = oracles.nm_mask(ones, 1, 2, sparsity=3 / 16)  # 3 of 8
    expected = [[[1, 1], [0, 0], [1, 1], [0, 1]], [[1, 1]] * 4]
    np.testing.assert_array_equal(mask, np.asarray(expected, bool))


@pytest.mark.parametrize("seed", range(3))
def test_mask_counts(seed):
    scores = np.abs(real_looking(seed))
    for sparsity in (0.0, 0.123, 0.5, 0.77):
        mask = oracles.unstructured_mask(scores, sparsity)
        assert (~mask).sum() == int(sparsity * 1152 + 0.5)
        assert not sparsity or scores[~mask].max() <= scores[mask].min()
        tiles = oracles.block_mask(scores, (4, 4), sparsity).reshape(9, 4, 4, 2, 4)
        kept = tiles.sum((2, 4))
        assert set(np.unique(kept)) <= {0, 16}
        assert (kept == 0).sum() == int(sparsity * 72 + 0.5)
    groups = oracles.nm_mask(scores, 2, 4).reshape(9, 4, 4, 8)
    assert (groups.sum(2) == 2).all()
    before = np.ones(scores.shape, bool)
    for sparsity in (0.0, 0.1, 0.3, 0.45, 0.5):
        mask = oracles.nm_mask(scores, 2, 4, sparsity=sparsity)
        kept = mask.reshape(9, 4, 4, 8).sum(2)
        assert (kept == 2).sum() == int(sparsity / 0.5 * 288 + 0.5)
        assert set(np.unique(kept)) <= {2, 4}
        assert not (mask & ~before).any()  # nested while the scores stand still
        before = mask


# Schedule


def test_cubic_literal():
    values = [oracles.cubic(t, 0, 4, 0.0, 0.8) for t in range(-1, 6)]
    np.testing.assert_allclose(
        values, [0, 0, 0.4625, 0.7, 0.7875, 0.8, 0.8], atol=1e-15
    )
    # 0.9 - 0.8 / 8
    assert oracles.cubic(150, 100, 200, 0.1, 0.9) == pytest.approx(0.8, abs=1e-15)
    assert oracles.cubic(100, 100, 200, 0.1, 0.9) == 0.1
    assert oracles.cubic(200, 100, 200, 0.1, 0.9) == 0.9
    assert [oracles.cubic(t, 3, 3, 0.2, 0.5) for t in (2, 3, 4)] == [0.2, 0.5, 0.5]


# Weights


def test_int8_weights_literal():
    first = column(127, -63.5, 0.5, 1.5, 2.5, -126.6)  # scale 1: half to even
    second = column(0, 0, 0, 0, 0, 0)
    third = column(-254, 1, 3, 5, -1, 0)  # scale 2
    w = np.concatenate([first, second, third], -1)
    q, scale = oracles.int8_weights(w)
    assert q.dtype == np.int8 and scale.dtype == F32
    np.testing.assert_array_equal(scale, [1, 1, 2])
    np.testing.assert_array_equal(q[0, :, 0], [127, -64, 0, 2, 2, -127])
    np.testing.assert_array_equal(q[0, :, 1], [0] * 6)
    np.testing.assert_array_equal(q[0, :, 2], [-127, 0, 2, 2, 0, 0])
    fake = oracles.fake_quant_weights(w)
    assert fake.dtype == F32
    np.testing.assert_array_equal(fake[0, :, 2], [-254, 0, 4, 4, 0, 0])


def test_int8_weight_scale_spans_all_taps():
    w = np.asarray([[[127.0]], [[-254.0]]], F32)
    np.testing.assert_array_equal(oracles.int8_weight_scale(w), [2])


def test_int8_weights_survive_underflow():
    q, scale = oracles.int8_weights(column(1e-45, 0))  # 1e-45 / 127 is 0 in float32
    assert scale[0] == 1 and not q.any()
    tiny = 2.0**-149  # the scale is a multiple of it: 190 / 127 rounds to 1
    q, scale = oracles.int8_weights(column(190 * tiny, -190 * tiny))
    assert scale[0] == F32(tiny) and q.reshape(-1).tolist() == [127, -127]


def test_orders_take_their_own_scale():
    # Blocks of 2 outputs x 1 input: sums 10 and 18, so channel 0 loses its maximum.
    w = np.asarray([[[10, 0], [9, 9]]], F32)
    mask = oracles.block_mask(w, (2, 1), 0.5)
    np.testing.assert_allclose(oracles.s_then_q(w, mask)[0, :, 0], [0, 9], rtol=1e-6)
    expected = [0, 114 * 10 / 127]  # 9 * 127 / 10 = 114.3
    np.testing.assert_allclose(oracles.q_then_s(w, mask)[0, :, 0], expected, rtol=1e-6)


def masks_of(name, scores):
    if name == "2:4":
        return oracles.nm_mask(scores, 2, 4)
    if name == "1:4":
        return oracles.nm_mask(scores, 1, 4)
    return oracles.unstructured_mask(scores, float(name))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["2:4", "1:4", "0.5", "0.9", "0.99"])
def test_theorem_3_5_and_swap_bound(name, seed):
    w = real_looking(seed)
    mask = masks_of(name, np.abs(w))
    error_s, error_q = w * ~mask, w - oracles.fake_quant_weights(w)
    both = oracles.s_then_q(w, mask)
    # The maximum of every channel that keeps anything is kept: the scale stays, so
    # S->Q is exactly the masked Q and its error is error_s + mask * error_q.
    np.testing.assert_array_equal(both, oracles.q_then_s(w, mask))
    np.testing.assert_array_equal(w - both, error_s + mask * error_q)
    total = l1(error_s) + l1(error_q)
    assert l1(w - both) <= total
    assert l1(error_s) <= l1(w - both)

    # A7: Q->S re-ranks AFTER quantization; each swap costs at most one step.
    other = masks_of(name, np.abs(oracles.fake_quant_weights(w)))
    extra = l1(w - oracles.q_then_s(w, other)) - total
    step = oracles.int8_weight_scale(w).astype(np.float64)
    if ":" in name:
        n, m = (int(part) for part in name.split(":"))
        bound = min(n, m - n) * step.sum() * 9 * 16 / m
    else:
        bound = min(mask.sum(), (~mask).sum()) * step.max()
    swaps = (mask & ~other).sum()
    assert swaps == (other & ~mask).sum()
    assert swaps == oracles.flip_rate(mask, other) * mask.size / 2
    assert extra <= bound
    assert l1(w * ~other) - l1(error_s) <= swaps * step.max() * (1 + 1e-6)


def test_theorem_3_6_counter_example():
    w = column(126.51, 127, 0, 0)  # scale 1; both become 127 and the wrong one stays
    fake = oracles.fake_quant_weights(w)
    np.testing.assert_array_equal(fake.reshape(-1), [127, 127, 0, 0])
    mask, other = oracles.nm_mask(w, 1, 4), oracles.nm_mask(fake, 1, 4)
    sum_of_errors = l1(w * ~mask) + l1(w - fake)
    assert sum_of_errors == pytest.approx(126.51 + 0.49, abs=1e-4)
    right, wrong = oracles.s_then_q(w, mask), oracles.q_then_s(w, other)
    assert l1(w - right) == pytest.approx(126.51, abs=1e-4)
    assert l1(w - wrong) == pytest.approx(127 + 0.49, abs=1e-4)
    assert sum_of_errors < l1(w - wrong) <= sum_of_errors + 1.0


# Activations


@pytest.mark.parametrize(
    ("minimum", "maximum", "expected"),
    [
        (0, 255, (1, -128, 0, 255)),
        (-128, 127, (1, 0, -128, 127)),
        (-127.5, 127.5, (1, 0, -128, 127)),  # half away from zero: 127.5 -> 128
        (-0.25, 254.75, (1, -128, 0, 255)),
        (-0.5, 254.5, (1, -127, -1, 254)),  # 0.5 -> 1, not to even
        (-0.75, 254.25, (1, -127, -1, 254)),
        (-255, 0, (1, 127, -255, 0)),
        (10, 510, (2, -128, 0, 510)),  # widened to 0
        (-510, -3, (2, 127, -510, 0)),
        (0, 63.75, (0.25, -128, 0, 63.75)),
    ],
)
def test_activation_grid_literal(minimum, maximum, expected):
    assert oracles.activation_grid(minimum, maximum) == expected


def test_fake_quant_activation_literal():
    x = np.asarray([-3, 0.5, 1.4, 2.5, 300], F32)
    fake = oracles.fake_quant_activation(x, 0, 255)
    assert fake.dtype == F32
    np.testing.assert_array_equal(fake, [0, 1, 1, 3, 255])  # half up
    x = np.asarray([-200, -1.5, -0.5, 0, 0.5, 126.6, 200], F32)
    fake = oracles.fake_quant_activation(x, -128, 127)
    np.testing.assert_array_equal(fake, [-128, -1, 0, 0, 1, 127, 127])
    np.testing.assert_array_equal(oracles.fake_quant_activation(x, 0, 0), [0] * 7)
    with pytest.raises(ValueError, match="no grid"):
        oracles.activation_grid(0, 0)


def test_fake_quant_activation_is_tensorflow():
    """Bit-equal to ...MinMaxVars, midpoints included; ...MinMaxArgs: see below.

    Seen with TF 2.21 on x86, 400 ranges: Vars 0 differences in 8 M random values and
    102,400 midpoints. Args 10 in 8 M, 13 % of the midpoints, each of exactly one step,
    because it multiplies by the inverse scale; no difference below one step anywhere.
    """
    import tensorflow as tf

    rng = np.random.default_rng(0)
    size = differing = 0
    for index in range(40):
        low, high = (float(F32(v)) for v in np.abs(rng.standard_cauchy(2)))
        low, high = (0.0 if index % 4 == 0 else -low), high + 1e-3
        if index % 4 == 1:
            high = 0.0
        scale, zero_point, _, _ = oracles.activation_grid(low, high)
        middles = (np.arange(256) - 128 - zero_point + 0.5).astype(F32) * scale
        x = rng.normal(0, 0.6 * max(high, -low), 5000).astype(F32)
        for values in (x, middles):
            fake = oracles.fake_quant_activation(values, low, high)
            peer = tf.quantization.fake_quant_with_min_max_vars(values, low, high, 8)
            np.testing.assert_array_equal(fake, peer.numpy())
        peer = tf.quantization.fake_quant_with_min_max_args(x, low, high, 8).numpy()
        fake = oracles.fake_quant_activation(x, low, high)
        unequal = fake != peer
        size, differing = size + x.size, differing + unequal.sum()
        np.testing.assert_allclose(np.abs(fake - peer)[unequal], scale, rtol=1e-4)
    assert differing <= 1e-5 * size


# Training


def test_ema():
    assert oracles.ema(10.0, 20.0, 0.75) == 12.5


def test_gradients_literal():
    upstream = np.asarray([1.0, 2.0, 3.0, 4.0])
    w = np.asarray([10.0, -20.0, 30.0, 0.0])
    mask = np.asarray([True, False, False, False])
    np.testing.assert_array_equal(oracles.ste_gradient(upstream, w, mask), upstream)
    masked = oracles.masked_gradient(upstream, w, mask)
    np.testing.assert_array_equal(masked, [1, 0, 0, 0])
    decayed = oracles.sr_ste_gradient(upstream, w, mask, 0.5)
    np.testing.assert_array_equal(decayed, [1, -8, 18, 4])


def test_flip_rate():
    a = np.asarray([[True, True], [False, False]])
    b = np.asarray([[True, False], [True, False]])
    assert oracles.flip_rate(a, b) == 0.5
    assert oracles.flip_rate(a, a) == 0.0
    assert oracles.flip_rate(a, ~a) == 1.0
    with pytest.raises(ValueError, match="size"):
        oracles.flip_rate(a, b[0])
