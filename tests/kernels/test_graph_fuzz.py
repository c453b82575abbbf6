"""Whole graphs, valid and changed, beside plain LiteRT: make fuzz-graphs does more."""

import json
import pathlib
import tempfile

import pytest
from ai_edge_litert.interpreter import Interpreter, load_delegate

from . import runner
from .graph_fuzz.__main__ import SETTINGS, changed_export, fuzz, graph
from .graph_fuzz.blame import stacks
from .graph_fuzz.compare import Comparison, verdict


@pytest.mark.parametrize(
    ("make", "count", "least"),
    [(graph, 150, 150), (changed_export, 100, 20)],
    ids=["graphs", "mutants"],
)
def test_no_file_crashes_fails_or_differs_with_the_delegate_alone(make, count, least):
    comparison = Comparison(runner.LIBRARY, SETTINGS)
    found = fuzz(comparison, make, 0, range(count))
    comparison.close()
    assert found == []
    assert comparison.counts["files"] == count
    assert comparison.counts["stock runs"] >= least


def test_the_delegate_takes_most_random_graphs():
    """Else the comparison would be one of plain LiteRT with itself."""
    claims = chains = 0
    for index in range(40):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "plan.json"
            delegate = load_delegate(
                runner.LIBRARY, {"plan": str(path), "min_gain": "0"}
            )
            Interpreter(
                model_content=graph(0, index)[0], experimental_delegates=[delegate]
            )
            plan = json.loads(path.read_text())
        groups = [d["group"] for d in plan if d["claimed"]]
        claims += bool(groups)
        chains += len(set(groups)) < len(groups)
    assert claims >= 25
    assert chains >= 10


def test_verdicts():
    fails, runs = ["loaded", {"error": "no"}], ["loaded", "prepared", ["12"]]
    assert verdict(runs, runs) == ""
    assert verdict(fails, runs) == ""
    assert verdict(["crash -11"], runs) == ""
    assert verdict(runs, ["crash -11"]) == "crash -11"
    assert verdict(runs, ["loaded", "prepared", ["34"]]).startswith("differs")
    assert verdict(runs, fails) == "fails where prepared is due: no"
    never_runs = ["loaded", "prepared", {"error": "no"}]
    assert verdict(never_runs, fails) == ""
    assert verdict(never_runs, ["loaded", "crash -6"]) == "crash -6"


def test_whose_error_it_is():
    frame = "==7==    at 0x10: f (in /venv/{})"
    report = [
        "==7== Invalid write of size 8",
        frame.format("libpywrap_litert_common.so"),
        "==7== Address 0x1 is 2 bytes after a block",
        "==7== Process terminating with default action of signal 6 (SIGABRT)",
        frame.format("libqsparse_delegate.so"),
    ]
    theirs, ours = stacks("\n".join(report))
    assert "litert" in theirs and "qsparse" not in theirs
    assert "qsparse" in ours
