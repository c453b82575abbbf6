"""Forward values and gradients of the estimators against the blind oracle."""

import numpy as np
import pytest
import tensorflow as tf

from qsparse import SRSTE, STE, Masked
from qsparse.methods.estimators import nothing_with_gradient
from qsparse.methods.patterns import NM
from tests import oracles


def _gradient(estimator, weights, mask, upstream):
    variable = tf.Variable(weights)
    with tf.GradientTape() as tape:
        value = tf.convert_to_tensor(variable)
        pruned = estimator(value, tf.constant(mask), tf.constant(1.0))
        loss = tf.reduce_sum(pruned * upstream)
        correction = estimator.correction(value, tf.constant(mask))
        if correction is not None:
            nothing = nothing_with_gradient(value, correction)
            assert float(nothing) == 0.0
            loss += nothing
    return pruned.numpy(), tape.gradient(loss, variable).numpy()


@pytest.mark.parametrize(
    ("estimator", "oracle"),
    [
        (Masked(), lambda g, w, m: oracles.masked_gradient(g, w, m)),
        (STE(), lambda g, w, m: oracles.ste_gradient(g, w, m)),
        (SRSTE(0.01), lambda g, w, m: oracles.sr_ste_gradient(g, w, m, 0.01)),
    ],
)
def test_estimator(trained_weights, estimator, oracle):
    weights = trained_weights["conv"]
    mask = NM(2, 4).mask(np.abs(weights))
    upstream = np.linspace(-1, 1, weights.size, dtype=np.float32).reshape(weights.shape)
    forward, gradient = _gradient(estimator, weights, mask.astype(np.float32), upstream)
    np.testing.assert_array_equal(forward, weights * mask)
    np.testing.assert_allclose(gradient, oracle(upstream, weights, mask), rtol=1e-6)


def test_sr_ste_rejects_negative_decay():
    with pytest.raises(ValueError, match="decay=-1"):
        SRSTE(-1)
