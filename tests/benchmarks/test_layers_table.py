"""The tables of layers and models know everything there is, and tell the truth."""

import sys

import keras
import numpy as np
import pytest

from benchmarks import layer_nets, zoo_models
from benchmarks.layers_page import layers_page
from benchmarks.trial import Trial, attempt, sqnr_db
from benchmarks.verdict import verdict
from qsparse.recipes.study.rows import Rows, run_in_workers

_WORKER = """
import os, sys, time
from pathlib import Path
from qsparse.recipes.study.rows import Rows, work

def do(name):
    if name == "dies":
        os._exit(139)
    if name == "hangs":
        time.sleep(60)
    return {"outcome": "quantized", "note": ""}

_, _, path, *names = sys.argv
work(Rows(Path(path)), names, do)
"""


def _row(name):
    case = layer_nets.case_of(name)
    return verdict(attempt(lambda: case), case.layer)


def test_every_layer_of_keras_has_a_net():
    found = layer_nets.public_layers()
    assert set(found) == set(layer_nets.NETS)
    assert {"Dense", "ConvLSTM2D", "RandomFlip", "StackedRNNCells"} <= set(found)
    assert not {"Layer", "Wrapper", "Convolution2D"} & set(found)  # bases, aliases
    assert len(found) > 130


def test_every_family_of_models_has_an_entry():
    assert zoo_models.unknown_families() == []
    assert len(zoo_models.application_families()) >= 14
    assert len(zoo_models.backbone_families()) >= 60


def test_a_dense_layer_is_pruned():
    keras.utils.clear_session()  # layers are numbered through the whole process
    row = _row("Dense")
    assert (row["outcome"], row["pruned"]) == ("pruned", ["dense"])
    assert row["sqnr_db"] > 30
    assert row["float_ops"] == []
    assert row["same_as_stock"]


def test_a_normalization_stays_in_float():
    row = _row("GroupNormalization")
    assert row["outcome"] == "float"
    assert "RSQRT" in row["float_ops"]
    assert row["sqnr_db"] > 25


def test_strings_are_refused_with_a_reason():
    row = _row("StringLookup")
    assert row["outcome"] == "refused"
    assert "string" in row["note"]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("layer 'a' has 3 outputs, not divisible by 4. Exclude it."), True),
        (RuntimeError('<unknown>:0: error: loc(callsite(fused["Conv3D:"'), False),
        (RuntimeError("'tfl.transpose' op has mismatched quantized axes"), False),
        (KeyError("functional/rescaling/add"), False),
        (ValueError("x" * 2000), False),
    ],
)
def test_only_a_message_for_users_is_a_refusal(error, outcome):
    trial = Trial(stage="export", error=error)
    assert verdict(trial, "")["outcome"] == ("refused" if outcome else "fault")


def test_a_file_far_from_keras_needs_a_warning():
    far = {"stage": "done", "sqnr_db": 12.0, "same_as_stock": True}
    assert verdict(Trial(**far), "")["outcome"] == "fault"
    assert verdict(Trial(**far, warnings=["12 dB"]), "")["outcome"] == "quantized"
    other = far | {"sqnr_db": 40.0, "same_as_stock": False}
    assert verdict(Trial(**other), "")["outcome"] == "fault"


def test_ratio_of_signal_to_noise():
    assert sqnr_db(np.array([10.0, 0.0]), np.array([10.0, 1.0])) == pytest.approx(20)
    assert sqnr_db(np.ones(3), np.ones(3)) == float("inf")


def test_a_run_survives_its_workers_and_goes_on(tmp_path, monkeypatch):
    (tmp_path / "worker_of_test.py").write_text(_WORKER)
    monkeypatch.setenv("PYTHONPATH", ":".join([str(tmp_path), *filter(None, sys.path)]))
    rows = Rows(tmp_path / "rows.jsonl")
    rows.append({"name": "old", "outcome": "quantized", "note": ""})
    names = ["a", "dies", "b", "hangs", "c"]
    run_in_workers("worker_of_test", names, rows, per_process=4, seconds=5.0)
    found = rows.read()
    assert list(found) == ["old", *names]
    assert [found[name]["outcome"] for name in names] == [
        "quantized",
        "fault",
        "quantized",
        "fault",
        "quantized",
    ]
    assert "139" in found["dies"]["note"]


def test_the_page_has_a_row_per_layer_in_order():
    trials = {"A": Trial(stage="done", sqnr_db=33.4, same_as_stock=True)}
    trials["B"] = Trial(stage="export", error=ValueError("no|kernel"))
    rows = [{"name": name} | verdict(trial, "") for name, trial in trials.items()]
    page = layers_page(rows)
    assert "2 layers: 1 quantized, 1 refused." in page
    assert "| `A` | quantized | 33 |  |\n| `B` | refused | - | ValueError" in page
    assert "no\\|kernel" in page
