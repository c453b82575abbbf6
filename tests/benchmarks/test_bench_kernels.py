"""What the kernels' and models' benchmarks write, on cases that take no time."""

import json
import math

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as Stock

from benchmarks import kernels as bench_kernels
from benchmarks import models as bench_models
from benchmarks.cases import Case, Shape, all_cases, quick_cases
from benchmarks.chain_models import chain_model
from benchmarks.one_op_models import correlated_input
from benchmarks.sparse_weights import sparse_weights
from benchmarks.split import split
from benchmarks.targets import TARGETS, means
from qsparse.tflite_export.files.cut_out import cut_out
from qsparse.tflite_export.files.model_file import ModelFile

SMALL = [
    Case(Shape("fc", "fc", 16, (64, 64), layers=2), "4x4", 0.75),
    Case(Shape("conv 3x3", "conv", 6, (16, 16), 3), "4:16", 0.75),
    Case(Shape("chain", "chain", 16, (32, 64, 32)), "unstructured", 0.9),
]
ASKED_FOR = {
    "op",
    "shape",
    "pattern",
    "sparsity",
    "isa",
    "kernel",
    "ratio_xnnpack",
    "ratio_own_dense",
    "ratio_xnnpack_median",
    "ratio_own_dense_median",
    "nonzero_gmacs",
    "peak_share",
    "bit_exact",
    "machine",
}


def test_rows_are_written_as_they_come_and_resumed(tmp_path, monkeypatch, capsys):
    path = tmp_path / "bench/kernels.json"
    monkeypatch.setattr(bench_kernels, "quick_cases", lambda: iter(SMALL[:2]))
    monkeypatch.setattr(bench_kernels, "_is_supported", lambda isa: True)
    monkeypatch.setattr(bench_kernels, "_peaks", lambda program: {"avx512vnni": 500.0})
    arguments = ["--quick", "--rounds", "2", "--output", str(path)]
    assert bench_kernels.main(arguments) == 0
    rows = json.loads(path.read_text())
    assert [row["shape"] for row in rows] == ["16x64x64", "6x6x16->16 3x3"]
    for row in rows:
        assert row.keys() >= ASKED_FOR
        assert row["bit_exact"] is True
        assert row["peak_share"] == pytest.approx(row["nonzero_gmacs"] / 500)
        macs = {"fc": 2 * 16 * 64 * 64, "conv": 36 * 9 * 16 * 16}[row["op"]]
        rate = macs * row["density"] / row["own_us"] / 1e3
        assert row["nonzero_gmacs"] == pytest.approx(rate)
    assert rows[0]["density"] == pytest.approx(0.25, abs=0.1)
    assert rows[1]["density"] == 0.25

    monkeypatch.setattr(bench_kernels, "quick_cases", lambda: iter(SMALL))
    assert bench_kernels.main([*arguments, "--resume", "--seconds", "0"]) == 0
    assert json.loads(path.read_text()) == rows
    assert bench_kernels.main([*arguments, "--resume"]) == 0
    longer = json.loads(path.read_text())
    assert longer[:2] == rows and longer[2]["op"] == "chain" and longer[2]["bit_exact"]
    assert "Geometric means" in capsys.readouterr().out


def test_a_wrong_or_constant_output_is_not_exact():
    class Fake:
        def __init__(self, output):
            self.output = np.asarray(output)

        def allocate_tensors(self): ...
        def set_tensor(self, index, value): ...
        def invoke(self): ...

        def get_input_details(self):
            return [{"index": 0}]

        def get_output_details(self):
            return [{"index": 1}]

        def get_tensor(self, index):
            return self.output

    right = np.arange(20)
    for other, exact in ((right, True), (right + (right == 7), False)):
        runners = {"xnnpack": Fake(right), "own": Fake(other)}
        assert bench_kernels._agree(runners, np.zeros(1)) is exact
    assert not bench_kernels._agree({"xnnpack": Fake(right * 0)}, np.zeros(1))


def test_grid_is_what_the_targets_need():
    keys = [tuple(case.key.values()) for case in all_cases()]
    assert len(keys) == len(set(keys))
    assert {tuple(case.key.values()) for case in quick_cases()} < set(keys)
    in_grid = {
        (case.shape.group, case.pattern, case.sparsity, case.isa)
        for case in all_cases()
    }
    assert TARGETS.keys() <= in_grid


def test_means_are_geometric_and_judged():
    row = {
        "group": "fc",
        "pattern": "4x4",
        "sparsity": 0.5,
        "isa": "avx512vnni",
        "ratio_own_dense": 2.0,
        "peak_share": 0.5,
        "bit_exact": True,
    }
    three = [row | {"ratio_xnnpack": ratio} for ratio in (2.0, 8.0, 4.0)]
    (mean,) = means(three)
    assert mean.ratio_xnnpack == pytest.approx(4.0)
    assert mean.limit == pytest.approx(8.0)
    assert (mean.target, mean.met, mean.shapes) == (2.7, True, 3)
    (mean,) = means([row | {"ratio_xnnpack": 2.69, "peak_share": None}] * 3)
    assert mean.met is False and mean.limit is None
    (mean,) = means(three[1:])  # not every shape of the group
    assert mean.target == 2.7 and mean.met is None
    (mean,) = means([entry | {"pattern": "8x4"} for entry in three])
    assert mean.target is None and mean.met is None


@pytest.mark.parametrize("shape", [(64, 128), (32, 3, 3, 64)])
def test_weights_have_their_pattern(shape):
    blocks = sparse_weights(shape, "16x4", 0.3) != 0
    tiles = blocks.reshape(shape[0] // 16, 16, -1, shape[-1] // 4, 4)
    assert (tiles.any((1, 4)) == tiles.all((1, 4))).all()
    assert blocks.mean() == pytest.approx(0.3, abs=0.15)
    runs = (sparse_weights(shape, "12:64") != 0).reshape(-1, 64)
    assert (runs.sum(1) == 12).all()
    loose = sparse_weights(shape, "unstructured", 0.3) != 0
    assert loose.mean() == pytest.approx(0.3, abs=0.02)


@pytest.fixture(scope="module")
def chain():
    sizes = (64, 128, 64, 128, 64)
    weights = [
        sparse_weights((n, k), "4x4", 0.25, seed)
        for seed, (k, n) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
    ]
    return chain_model(weights, 32)


@pytest.mark.filterwarnings("ignore:.*preserve_all_tensors")
def test_no_layer_of_a_chain_collapses_or_saturates(chain):
    interpreter = Stock(model_content=chain, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, correlated_input((32, 64)))
    interpreter.invoke()
    ops = ModelFile(chain).ops
    for op in ops:
        values = interpreter.get_tensor(op.outputs[0].index)
        assert 30 < values.std() < 60
        assert (values == 127).mean() < 0.02
        zeros = (values == -128).mean()
        assert 0.3 < zeros < 0.7 if op is not ops[-1] else zeros < 0.02


def test_ops_cut_out_together_keep_what_is_between_them(chain):
    file = ModelFile(chain)
    middle = cut_out(file, file.ops[1:3])
    cut = ModelFile(middle)
    assert [len(cut.ops), len(cut.inputs), len(cut.outputs)] == [2, 1, 1]
    x = correlated_input((32, 128))
    alone = [cut_out(file, [op]) for op in file.ops[1:3]]
    assert (_run(middle, x) == _run(alone[1], _run(alone[0], x))).all()


def test_split_adds_up(chain):
    parts = split(chain, 2)
    total = parts.ours_us + parts.rest_us + parts.overhead_us
    assert math.isclose(total, parts.whole_us)
    assert math.isclose(sum(parts.rest_by_op.values()), parts.rest_us)
    assert parts.largest_remaining in {*parts.rest_by_op, "overhead"}


def test_models_are_measured_on_their_own_data(chain, tmp_path, capsys):
    file = ModelFile(chain)
    (tensor,) = file.inputs
    samples = correlated_input((3, 32, 64)).astype(np.float32)
    # Quantized, these are the integers again.
    samples = (samples - tensor.zero_points[0]) * tensor.scales[0]
    (tmp_path / "minilm.tflite").write_bytes(chain)
    np.savez(tmp_path / "minilm.npz", input=samples)
    path = tmp_path / "models.json"
    arguments = ["--networks", "minilm", "--cache", str(tmp_path), "--rounds", "2"]
    assert bench_models.main([*arguments, "--output", str(path)]) == 0
    (row,) = json.loads(path.read_text())
    assert row["bit_exact"] and row["layers"] == 4
    assert row["two_threads"]["scaling"] > 0
    assert "minilm" in capsys.readouterr().out


def _run(content, x):
    interpreter = Stock(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
