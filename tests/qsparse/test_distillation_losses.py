"""Losses of distillation against loops written from their formulas."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

import qsparse


def logits(seed, shape=(3, 4, 5)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32) * 3


def softmax(row):
    powers = [np.exp(float(value)) for value in row]
    return [power / sum(powers) for power in powers]


def soft_labels(teacher, student, temperature, mask=None):
    """T^2 * mean over positions of sum p log(p / q), position by position."""
    found = []
    for place in np.ndindex(teacher.shape[:-1]):
        if mask is None or mask[place]:
            p = softmax(teacher[place] / temperature)
            q = softmax(student[place] / temperature)
            found.append(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True)))
    return temperature**2 * sum(found) / len(found)


def square_head(teacher, student, epsilon, mask=None):
    """mean((s - t)^2) / (mean(t^2) + epsilon), number by number."""
    missed, size, count = 0.0, 0.0, 0
    for place in np.ndindex(teacher.shape):
        if mask is None or mask[place[: mask.ndim]]:
            missed += (float(student[place]) - float(teacher[place])) ** 2
            size += float(teacher[place]) ** 2
            count += 1
    return (missed / count) / (size / count + epsilon)


@pytest.mark.parametrize("temperature", [1.0, 2, 7.5])
def test_soft_labels(temperature):
    teacher, student = logits(0), logits(1)
    loss = qsparse.SoftLabels(temperature).compute_loss(teacher, student)
    assert float(loss) == pytest.approx(
        soft_labels(teacher, student, temperature), rel=1e-4
    )


def test_soft_labels_is_what_keras_says_with_a_loss_object():
    """And not what it says by default, where it takes logits for probabilities."""
    teacher, student = logits(0, (6, 5)), logits(1, (6, 5))
    theirs = keras.distillation.LogitsDistillation(
        2.0, loss=keras.losses.KLDivergence()
    )
    ours = float(qsparse.SoftLabels(2.0).compute_loss(teacher, student))
    expected = float(theirs.compute_loss(teacher, student))
    assert ours == pytest.approx(expected, rel=1e-4)


def test_square_head_sums_over_layers():
    pairs = [(logits(0), logits(1)), (logits(2, (4, 3)), 100 * logits(3, (4, 3)))]
    teacher, student = zip(*pairs, strict=True)
    loss = qsparse.SquareHead(epsilon=0.5).compute_loss(list(teacher), list(student))
    expected = sum(square_head(t, s, 0.5) for t, s in pairs)
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_padding_does_not_count():
    """The mask is one that Keras makes, of an embedding of padded tokens."""
    tokens = np.array([[3, 1, 0, 0], [2, 2, 1, 0]])
    table = layers.Embedding(
        4, 5, keras.initializers.RandomNormal(0, 2, 1), mask_zero=True
    )
    student = table(tokens)
    theirs, ours = logits(4, (2, 4, 5)), keras.ops.convert_to_numpy(student)
    mask = tokens != 0
    for loss, oracle in (
        (qsparse.SquareHead(epsilon=0.1), lambda m: square_head(theirs, ours, 0.1, m)),
        (qsparse.SoftLabels(2.0), lambda m: soft_labels(theirs, ours, 2.0, m)),
    ):
        found = float(loss.compute_loss(theirs, student))
        assert found == pytest.approx(oracle(mask), rel=1e-4)
        assert found != pytest.approx(oracle(None), rel=0.1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.floats(0.01, 100.0))
def test_properties(seed, scale):
    """Zero for equal sides only; SquareHead does not see the scale of a layer."""
    teacher, student = logits(seed), logits(seed + 1)
    for loss in (qsparse.SoftLabels(3.0), qsparse.SquareHead()):
        assert abs(float(loss.compute_loss(teacher, teacher))) < 1e-5
        assert float(loss.compute_loss(teacher, student)) > 0
    head = qsparse.SquareHead(epsilon=1e-12)
    one = float(head.compute_loss(teacher, student))
    scaled = head.compute_loss(teacher * scale, student * scale)
    assert float(scaled) == pytest.approx(one, rel=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: qsparse.SoftLabels(0), "`temperature` must be positive.*=0"),
        (lambda: qsparse.SoftLabels(-1.0), "`temperature` must be positive.*=-1.0"),
        (lambda: qsparse.SoftLabels("2"), "`temperature` must be a finite number"),
        (lambda: qsparse.SquareHead(epsilon=0), "`epsilon` must be positive"),
        (lambda: qsparse.SquareHead([]), "`layers` of SquareHead must be names"),
        (lambda: qsparse.SquareHead([3]), r"Received: layers=\[3\]"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_one_class_has_no_distribution():
    with pytest.raises(ValueError, match=r"one place only: shape \(3, 1\)"):
        qsparse.SoftLabels().compute_loss(logits(0, (3, 1)), logits(1, (3, 1)))
