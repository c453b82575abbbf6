"""A fine-tuning too short to learn much, but trained, saved and resumed for real."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.accuracy import outputs, share_right
from qsparse.engine.compressor import state_of
from qsparse.recipes import sentiment

SETTING = sentiment.Setting(
    train=800, quantized_train=32, test=200, length=24, rate=1e-4
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sentiment")


@pytest.fixture(scope="module")
def trained(folder):
    return sentiment.fine_tune(folder / "new", SETTING, verbose=0)


def test_it_learns(trained):
    # Half of the sentences are praise. 4,000 sentences to train on give 83%.
    for model in (trained.float_model, trained.quantized_model):
        assert share_right(model, trained.test_inputs, trained.test_labels) > 0.62


def test_only_the_second_model_is_quantized(trained):
    assert state_of(trained.float_model) is None
    state = state_of(trained.quantized_model)
    assert state.begun and bool(state.quantizing.numpy())


def test_a_second_call_loads_what_the_first_trained(trained, folder, monkeypatch):
    def fail(*arguments):
        raise AssertionError("trained again")

    monkeypatch.setattr(sentiment, "_train_in_float", fail)
    monkeypatch.setattr(sentiment, "_train_in_int8", fail)
    again = sentiment.fine_tune(folder / "new", SETTING, verbose=0)
    for name in ("float_model", "quantized_model"):
        old, new = (getattr(x, name) for x in (trained, again))
        np.testing.assert_allclose(
            outputs(new, again.test_inputs),
            outputs(old, trained.test_inputs),
            atol=1e-4,
        )
    assert state_of(again.quantized_model) is not None
    assert len(list((folder / "new").iterdir())) == 2


def test_another_setting_is_another_training(trained, folder, monkeypatch):
    def fail(*arguments):
        raise AssertionError("trained anew")

    monkeypatch.setattr(sentiment, "_train_in_float", fail)
    other = replace(SETTING, rate=2e-4)
    with pytest.raises(AssertionError, match="trained anew"):
        sentiment.fine_tune(folder / "new", other, verbose=0)
