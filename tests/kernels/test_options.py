"""Options: what is accepted, what is refused and how the ISA is chosen."""

import os
import subprocess
import sys

import pytest
from ai_edge_litert.interpreter import load_delegate

from benchmarks import one_op_models
from benchmarks.sparse_weights import sparse_weights

from . import runner


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": "11"}, "unknown option 'speed'"),
        ({"threads": "two"}, "bad value 'two' for option 'threads'"),
        ({"threads": "-1"}, "bad value"),
        ({"threads": "100000"}, "bad value"),
        ({"isa": "sse9"}, "bad value 'sse9' for option 'isa'"),
        ({"kernel": "fast"}, "bad value 'fast' for option 'kernel'"),
        ({"min_gain": "-1"}, "bad value"),
        ({"min_gain": "nan"}, "bad value"),
        ({"min_gain": ""}, "bad value"),
        ({"dense": "yes"}, "bad value 'yes' for option 'dense'"),
        ({"log": "3"}, "bad value"),
        ({"cpu": "pentium", "log": "1"}, "bad value 'pentium' for option 'cpu'"),
        ({"cpu": "znver5"}, "runs nothing; it needs 'plan' or 'log'"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match="qsparse") as error:
        load_delegate(runner.LIBRARY, options)
    assert message in str(error.value)


@pytest.mark.parametrize("isa", [*runner.ISAS, "auto"])
def test_isa_in_the_plan(isa):
    weights = sparse_weights((64, 64), "4x4", 0.3)
    model = one_op_models.fully_connected_model(weights, 32)
    (decision,) = runner.plan_of(model, isa=isa, min_gain="0")
    assert decision["isa"] in runner.ISAS
    if isa in ("portable", "auto"):
        best = runner.plan_of(model, min_gain="0")[0]["isa"]
        assert decision["isa"] == (best if isa == "auto" else "portable")


SCRIPT = """
import sys
sys.path[:0] = {path!r}
from benchmarks import one_op_models
from benchmarks.sparse_weights import sparse_weights
from tests.kernels import runner
weights = sparse_weights((64, 64), "4x4", 0.3)
model = one_op_models.fully_connected_model(weights, 32)
print(runner.plan_of(model, min_gain="0", isa={isa!r})[0]["isa"])
"""


def run_script(isa, environment, root):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(path=[str(root)], isa=isa)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_environment_forces_the_isa(pytestconfig):
    environment = {**os.environ, "QSPARSE_ISA": "portable"}
    result = run_script("auto", environment, pytestconfig.rootpath)
    assert result.stdout.strip() == "portable", result.stderr


def test_environment_with_a_bad_isa_is_refused(pytestconfig):
    environment = {**os.environ, "QSPARSE_ISA": "sse9"}
    result = run_script("auto", environment, pytestconfig.rootpath)
    assert result.returncode != 0
    assert "bad value 'sse9' for QSPARSE_ISA" in result.stderr


@pytest.mark.parametrize(("level", "lines"), [("0", 0), ("1", 1), ("2", 2)])
def test_log(level, lines, capfd):
    weights = sparse_weights((64, 64), "4x4", 0.3)
    model = one_op_models.fully_connected_model(weights, 32)
    runner.interpreter(model, min_gain="0", log=level)
    logged = [
        x for x in capfd.readouterr().err.splitlines() if x.startswith("qsparse:")
    ]
    assert len(logged) == lines
    if lines:
        assert "1 of 1 layers" in logged[0]


def test_a_plan_that_cannot_be_written_is_reported(tmp_path, capfd):
    weights = sparse_weights((64, 64), "4x4", 0.3)
    model = one_op_models.fully_connected_model(weights, 32)
    runner.interpreter(model, plan=str(tmp_path / "missing" / "plan.json"))
    assert "cannot write the plan" in capfd.readouterr().err
