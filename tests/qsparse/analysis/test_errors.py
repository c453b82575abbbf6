"""Errors in each order: what the paper proves, on random and on trained tensors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsparse import HBFP, NM, BlockInt, IntN
from qsparse.analysis import dot_product_errors, swaps, tensor_errors
from qsparse.methods.formats import FORMATS

FORMATS_TRIED = ["int8", "int4", "int2", "mxfp8", "mxfp6", "mxfp4", "hbfp8", "hbfp4"]
FORMATS_TRIED += [BlockInt(4)]
NORMS = (1, 2, float("inf"))


def heavy(seed, shape):
    """Return weights with heavy tails."""
    rng = np.random.default_rng(seed)
    return rng.standard_t(3, size=shape).astype(np.float32)


@given(
    st.integers(0, 10**6),
    st.sampled_from([("2:4", None), ("1:4", None), ("unstructured", 0.5)]),
    st.sampled_from(FORMATS_TRIED),
    st.sampled_from(NORMS),
)
@settings(max_examples=200, deadline=None)
def test_pruning_first_never_exceeds_the_sum(seed, pruning, format, norm):
    pattern, sparsity = pruning
    found = tensor_errors(
        heavy(seed, (64, 3)), pattern, format, sparsity=sparsity, norm=norm
    )
    assert found.pruned_first <= found.sum * (1 + 1e-6)
    assert min(found.pruned, found.quantized, found.quantized_first) > 0


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("format", FORMATS_TRIED)
def test_so_do_trained_weights(trained_weights, format, norm):
    for weights in trained_weights.values():
        found = tensor_errors(weights, "2:4", format, norm=norm)
        assert found.pruned_first <= found.sum * (1 + 1e-6) < found.size * 3


def test_errors_are_those_of_a_tensor_worked_out_by_hand():
    """One block of the steps 1: 3.4 and 0.6 go, the others are rounded."""
    weights = np.array([[7.0], [3.4], [0.6], [-4.4]], np.float32)
    found = tensor_errors(weights, "2:4", IntN(4), norm=1)
    assert found.pruned == pytest.approx(3.4 + 0.6)
    assert found.quantized == pytest.approx(0.4 + 0.4 + 0.4)
    assert found.pruned_first == pytest.approx(4.0 + 0.4)
    assert found.quantized_first == pytest.approx(4.0 + 0.4)
    assert found.sum == pytest.approx(5.2) and found.size == pytest.approx(15.4)
    assert found.order_gap == pytest.approx(0, abs=1e-6)


def test_quantizing_first_exceeds_the_sum_on_the_counterexample():
    """Both are 7 once rounded: the wrong one may stay, and then all of it is lost."""
    for order in ([7.0, 6.51, 0.0, 0.0], [6.51, 7.0, 0.0, 0.0]):
        weights = np.array(order, np.float32)[:, None]
        found = tensor_errors(weights, "1:4", IntN(4), norm=1)
        assert found.pruned == pytest.approx(6.51, rel=1e-6)
        assert found.quantized == pytest.approx(0.49, rel=1e-5)
        assert found.pruned_first == pytest.approx(6.51, rel=1e-6)
        if found.quantized_first > found.sum + 0.4:
            assert found.quantized_first == pytest.approx(7.49, rel=1e-6)
            assert found.order_gap == pytest.approx(7.49 / 6.51 - 1, rel=1e-5)
            return
    raise AssertionError("ties fall to neither")


def test_scales_from_both_ends_are_no_case_of_the_theorem():
    """Without -1 the grid moves off the weights that it lay on."""
    weights = np.array([[14.0], [7.0], [-1.0], [0.0]], np.float32)
    found = tensor_errors(weights, "2:4", BlockInt(4, symmetric=False), norm=1)
    assert (found.pruned, found.quantized) == (1.0, 0.0)
    assert found.pruned_first == pytest.approx(1 + 7 / 15, rel=1e-5)


def by_groups(weights, n, m, codes, scale):
    """Return what quantizing first costs beyond the sum, and its bound, of each group.

    Groups are rows of `weights`; written down anew from the paper.
    """

    def kept(sizes):
        # The later of equal ones stays in one order, and the earlier in the other:
        # bounds hold for either.
        order = np.argsort(sizes, axis=1, kind="stable")
        mask = np.zeros(sizes.shape, bool)
        np.put_along_axis(mask, order[:, m - n :], True, axis=1)
        return mask

    rounded = codes * scale
    early, late = kept(np.abs(weights)), kept(np.abs(rounded))
    alone = np.abs(weights - rounded) + np.abs(weights) * ~early
    extra = np.abs(weights - rounded * late).sum(1) - alone.sum(1)
    return extra, min(n, m - n) * scale[:, 0]


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_swaps_cost_no_more_than_the_bound_in_a_hundred_thousand_groups(bits):
    """Each group is a channel with a scale of its own."""
    for n, m in ((2, 4), (1, 4), (4, 16), (3, 4)):
        weights = heavy(bits, (m, 5000))
        codes, scale = IntN(bits).encode(weights[None])
        extra, bound = by_groups(
            weights.T.astype(float), n, m, codes[0].T.astype(float), scale[:, None]
        )
        assert (extra <= bound * (1 + 1e-6)).all()
        found = swaps(weights, NM(n, m), IntN(bits))
        assert found.extra == pytest.approx(extra.sum(), rel=0.05)  # ties
        assert found.bound == pytest.approx(bound.sum(), rel=1e-6)
        assert 0 < found.share < (0.05 if bits == 8 else 0.5)


def test_few_weights_change_places_at_int8_and_many_at_int4():
    weights = heavy(0, (512, 64))
    eight, four = (swaps(weights, "2:4", each) for each in ("int8", "int4"))
    assert 0 < eight.share < 0.05 < four.share < 0.3
    assert eight.extra < 0 and four.extra < 0  # A bound is not what happens.


@pytest.mark.parametrize("format", ["int8", "int4", "mxfp6", "hbfp4"])
@pytest.mark.parametrize(
    "pattern, sparsity", [("2:4", None), ("unstructured", 0.7), ("4x4", 0.5)]
)
def test_the_terms_of_a_product_add_up(images, pattern, sparsity, format):
    """On real activations: 64 images of 784 pixels."""
    x = images[0][:64].reshape(64, -1)
    found = dot_product_errors(
        x, heavy(1, (784, 16)), pattern, format, sparsity=sparsity
    )
    parts = found.pruned + found.quantized + found.weights_meet + found.activations_meet
    np.testing.assert_allclose(found.both, parts, rtol=0, atol=1e-12 * 784)
    assert found.both.shape == (64, 16) and 0.02 < found.beyond < 0.6


def test_terms_are_those_of_the_definitions():
    x, w = heavy(2, (5, 8)), heavy(3, (8, 4))
    format = HBFP(6, block=8)
    found = dot_product_errors(x, w, "2:4", format)
    rounded = np.asarray(format.rounded(x, 1), float)
    q = np.asarray(format.rounded(w, 0), float)
    mask = NM(2, 4).mask(np.abs(w)[None], None)[0]
    x, w = x.astype(float), w.astype(float)
    np.testing.assert_allclose(found.pruned, x @ (w * ~mask), atol=1e-12)
    np.testing.assert_allclose(found.quantized, x @ w - rounded @ q, atol=1e-12)
    # N:M keeps the greatest of a block: others are rounded as they were.
    np.testing.assert_allclose(
        found.weights_meet, -rounded @ ((w - q) * ~mask), atol=1e-12
    )
    np.testing.assert_allclose(
        found.activations_meet, -(x - rounded) @ (w * ~mask), atol=1e-12
    )


def test_activations_may_have_another_format():
    x, w = heavy(2, (5, 8)), heavy(3, (8, 4))
    same = dot_product_errors(x, w, "2:4", "int4")
    other = dot_product_errors(x, w, "2:4", "int4", activation_format="mxfp4")
    np.testing.assert_array_equal(same.pruned, other.pruned)
    assert np.abs(other.quantized).sum() > np.abs(same.quantized).sum()


def test_bad_arguments_are_named():
    good = np.ones((8, 4), np.float32)
    for call, message in (
        (lambda: tensor_errors(good, "2:4", "int8", norm=3), "`norm` must be 1, 2 or"),
        (lambda: tensor_errors(good[0], "2:4", "int8"), r"\(inputs, outputs\) or"),
        (lambda: tensor_errors(good * np.nan, "2:4", "int8"), "must be finite"),
        (lambda: tensor_errors(good[:5], "4:16", "int8"), "does not fit on"),
        (lambda: tensor_errors(good, "unstructured", "int8"), "needs `sparsity`"),
        (lambda: tensor_errors(good, "2:4", "int99"), "`bits` must be 2 to 8"),
        (lambda: swaps(good, "4x4", "int8"), "needs `sparsity`|whole groups"),
        (
            lambda: swaps(heavy(0, (8, 4)), "2:4", "mxfp8"),
            "Steps of mxfp8 are not equal",
        ),
        (lambda: dot_product_errors(good, good, "2:4", "int8"), "A product takes"),
        (lambda: dot_product_errors(good.T / 0, good, "2:4", "int8"), "must be finite"),
    ):
        with pytest.raises(ValueError, match=message), np.errstate(divide="ignore"):
            call()


def test_every_format_that_is_registered_can_be_analysed():
    weights = heavy(0, (64, 8))
    for name in FORMATS.classes:
        found = tensor_errors(weights, "2:4", name)
        assert 0 < found.quantized < found.pruned < found.size, name


def test_activations_that_are_zero_cost_nothing():
    found = dot_product_errors(np.zeros((2, 8)), heavy(0, (8, 4)), "2:4", "int8")
    assert not found.both.any() and found.beyond == 0.0
