"""What `make bench-guard` writes, on files that take no time."""

import json

import numpy as np
import pytest

from benchmarks import guard
from benchmarks.chain_models import chain_model
from benchmarks.one_op_models import correlated_input
from benchmarks.sparse_weights import sparse_weights
from qsparse.tflite_export.files.model_file import ModelFile

ROWS = 32


@pytest.fixture
def cache(tmp_path):
    weights = [sparse_weights(shape, "dense") for shape in ((128, 64), (64, 128))]
    (tmp_path / "minilm.tflite").write_bytes(chain_model(weights, ROWS))
    samples = np.stack([correlated_input((ROWS, 64), seed) for seed in range(3)])
    (source,) = ModelFile(tmp_path / "minilm.tflite").inputs
    values = (samples - source.zero_points[0]) * source.scales[0]
    np.savez(tmp_path / "minilm.npz", input=values)
    return tmp_path


def test_every_variant_has_a_row(cache, capsys, monkeypatch):
    monkeypatch.setattr(guard, "LEAST_RATIO", 0.0)
    path = cache / "guard.json"
    arguments = ["--networks", "minilm", "--output", str(path), "--cache", str(cache)]
    assert guard.main(arguments) == 0
    rows = json.loads(path.read_text())
    assert [row["variant"] for row in rows] == list(guard.VARIANTS)
    for row in rows:
        assert row["bit_exact"] is True
        assert row["ratio_xnnpack"] == pytest.approx(row["xnnpack_us"] / row["own_us"])
        assert row["xnnpack_isa"] and row["machine"]
    assert "4x4@75%" in capsys.readouterr().out


def test_what_is_slower_is_measured_again_and_fails(cache, monkeypatch, capsys):
    monkeypatch.setattr(guard, "LEAST_RATIO", 1e6)
    path = cache / "guard.json"
    arguments = ["--networks", "minilm", "--variants", "4x4@90%"]
    arguments += ["--output", str(path), "--cache", str(cache)]
    assert guard.main(arguments) == 1
    (row,) = json.loads(path.read_text())
    assert row["measured_again"]
    assert len(row["losses"]) == row["groups"]
    assert "NO" in capsys.readouterr().out


@pytest.mark.parametrize("variant", guard.VARIANTS)
def test_files_have_the_zeros_of_their_variant(cache, variant):
    content = guard.pruned((cache / "minilm.tflite").read_bytes(), variant)
    share = {"dense": 0, "2:4": 0.5, "4:16": 0.75}.get(variant)
    if share is None:
        share = int(variant.partition("@")[2].rstrip("%")) / 100
    for _, weights in ModelFile(content).int8_layers():
        zeros = weights.data == 0
        # Blocks of 16 weights are whole; of 512 of them 80% are not.
        assert zeros.mean() == pytest.approx(share, abs=0.001)
        if ":" in variant:
            kept, of = map(int, variant.split(":"))
            groups = ~zeros.reshape(-1, of)
            assert (groups.sum(axis=1) == kept).all()
        if variant.startswith("4x4"):
            rows, columns = weights.shape
            tiles = zeros.reshape(rows // 4, 4, columns // 4, 4)
            assert (tiles.all((1, 3)) == tiles.any((1, 3))).all()
