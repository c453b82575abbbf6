"""Which pattern would gain on a CPU where the one of a file does not."""

import platform

import numpy as np
import pytest

from benchmarks.one_op_models import fully_connected_model
from benchmarks.sparse_weights import sparse_weights
from qsparse import cli
from qsparse.tflite_export.advice import advise
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.pruned import prune_file
from qsparse.tflite_export.runtime.interpreter import read_plan

SHAPE = (768, 768)
pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="plans for other CPUs are for x86 there"
)


def layers(pattern, density=1.0):
    weights = sparse_weights(SHAPE, pattern, density)
    return fully_connected_model(weights, 128).content


@pytest.mark.parametrize(
    ("pattern", "density", "cpu"),
    [
        ("2:4", 0.5, "sapphirerapids"),
        ("4x4", 0.5, "sapphirerapids"),
        ("unstructured", 0.5, "sapphirerapids"),
        ("unstructured", 0.6, "znver5"),
    ],
)
def test_what_it_advises_is_taken_there(pattern, density, cpu):
    content = layers(pattern, density)
    found = advise(content, cpu=cpu)
    assert (found.layers, found.idle) == (1, 1)
    assert found.sparsity == pytest.approx(1 - density, abs=0.05)
    rows, columns = found.block
    kept = 1 - found.block_sparsity
    other = layers(f"{rows}x{columns}", kept)  # made apart from the code under test
    (entry,) = read_plan(other, cpu=cpu)
    assert entry["claimed"]
    assert entry["predicted_gain"] == pytest.approx(found.gain, rel=0.1)
    assert f"Block(({rows}, {columns})) at {found.block_sparsity:.0%} would" in str(
        found
    )


def test_more_zeros_are_advised_where_blocks_do_not_help():
    found = advise(layers("4x4", 0.5), cpu="sapphirerapids")
    assert found.block_sparsity == 0.9
    found = advise(layers("unstructured", 0.6), cpu="znver5")
    assert found.block_sparsity == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize(
    ("pattern", "density"), [("4x4", 0.25), ("4x4", 0.1), ("dense", 1), ("4x4", 0.9)]
)
def test_nothing_is_said_of_layers_that_gain_or_are_dense(pattern, density):
    assert advise(layers(pattern, density), cpu="znver5") is None


def test_where_no_blocks_fit_none_are_advised():
    weights = sparse_weights((10, 768), "unstructured", 0.5)
    found = advise(fully_connected_model(weights, 128).content, cpu="sapphirerapids")
    assert found.block is None
    assert "No blocks would either" in str(found)


def test_a_cpu_nobody_knows_is_an_error():
    with pytest.raises(ValueError, match="bad value 'z80' for option 'cpu'"):
        advise(layers("2:4"), cpu="z80")


def test_bench_and_inspect_say_so(tmp_path, monkeypatch, capsys):
    path = tmp_path / "m.tflite"
    path.write_bytes(layers("unstructured", 0.6))
    told = "1 of 1 pruned layers, 40% zeros, gain nothing over XNNPACK on this CPU."
    monkeypatch.setattr(
        "qsparse.tflite_export.advice.plan_apart",
        lambda path, cpu: read_plan(path, cpu="znver5"),
    )
    for command in (["inspect"], ["bench", "--rounds", "1"]):
        monkeypatch.setattr(
            "qsparse.tflite_export.inspect.plan_apart",
            lambda path: read_plan(path, cpu="znver5"),
        )
        monkeypatch.setattr(
            "qsparse.tflite_export.bench.read_plan",
            lambda model: read_plan(model, cpu="znver5"),
        )
        assert cli.main([command[0], str(path), *command[1:]]) == 0
        assert told in " ".join(capsys.readouterr().out.split())
        assert cli.main([command[0], str(path), *command[1:], "--json"]) == 0
        assert told in capsys.readouterr().out


@pytest.mark.parametrize("zeros", [0.5, 0.9])
def test_zeros_put_into_a_file_are_those_of_the_mask(zeros):
    content = layers("unstructured", 0.7)
    keep = np.random.default_rng(1).random((768, 1, 768)) >= zeros

    def mask(sizes):
        assert sizes.shape == keep.shape and sizes.dtype == np.float32
        return keep

    (op, weights), *_ = ModelFile(prune_file(content, mask)).layers()
    np.testing.assert_array_equal(weights.data != 0, keep[:, 0])
    (before, original), *_ = ModelFile(content).layers()
    still = keep[:, 0] & (original.data != 0)
    np.testing.assert_array_equal(weights.data[still], original.data[still])
    # Energy, and biases in steps of the scales of input and weights, are kept.
    energy = [
        np.square(w.data * w.scales[:, None], dtype=np.float64).sum()
        for w in (weights, original)
    ]
    assert energy[0] == pytest.approx(energy[1], rel=0.01)
    biases = [op.inputs[2].data * op.inputs[2].scales, 0]
    biases[1] = before.inputs[2].data * before.inputs[2].scales
    np.testing.assert_allclose(*biases, atol=float(op.inputs[2].scales.max()))
    np.testing.assert_allclose(
        op.inputs[2].scales, op.inputs[0].scales[0] * weights.scales, rtol=1e-6
    )
