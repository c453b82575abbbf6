"""The study of baselines: its runs, its rows, and what its page concludes."""

import json
from statistics import mean, stdev

import pytest

from qsparse.cli import main
from qsparse.recipes.study import baselines
from qsparse.recipes.study.methods import METHODS, PATTERNS
from qsparse.recipes.study.page import COMPARED, Relation, _compared, page
from qsparse.recipes.study.rows import Rows, _made

ALL = baselines.all_runs(["resnet", "vit"], 3)


def row(method, pattern, seed, accuracy, form="float"):
    return {
        "name": f"resnet/{method}/{pattern}/{form}/{seed}",
        "accuracy": accuracy,
        "date": "2026-01-01",
        "commit": "abc",
        "cpu": "a CPU",
        "keras": "3",
    }


def test_every_run_has_a_name_of_its_own_that_leads_back_to_it():
    names = [run.name for run in ALL]
    assert len(set(names)) == len(names)
    assert [baselines.Run.named(name) for name in names] == ALL


def test_every_method_meets_every_pattern_in_both_formats():
    found = {(run.method, run.pattern, run.format) for run in ALL}
    for method in set(METHODS) - {"dense"}:
        for pattern in PATTERNS:
            fixed = METHODS[method].shares_out and ":" in pattern
            for form in ("float", "int8"):
                assert ((method, pattern, form) in found) != fixed
    assert ("dense", "dense", "int8") in found


def test_what_is_compared_is_run_first():
    compared = {key for each in COMPARED for key in (each.better, each.worse)}
    first = {(r.method, r.pattern, r.format) for r in ALL[: 6 * len(compared)]}
    assert first == compared


def test_every_run_has_a_recipe():
    for run in ALL:
        recipe = run.recipe()
        if run.method == "dense":
            assert (recipe is None) == (run.format == "float"), run
            continue
        assert recipe.quantize == (run.format == "int8"), run
        assert recipe.sparsity == PATTERNS[run.pattern][1], run


@pytest.mark.parametrize(
    ("gains", "margin", "verdict"),
    [
        ([0.5, 0.6, 0.7], 0.0, "holds"),
        ([-0.5, -0.6, -0.7], 0.0, "does not hold"),
        ([-0.5, 0.6, 0.7], 0.0, "not told apart, the mean agrees"),
        ([0.5, -0.6, -0.7], 0.0, "not told apart, the mean disagrees"),
        ([-0.20, -0.21, -0.22], 0.3, "holds"),
        ([-0.40, -0.41, -0.42], 0.3, "does not hold"),
        ([2.0], 0.0, "not told apart, the mean agrees"),
    ],
)
def test_a_relation_holds_only_beyond_noise(gains, margin, verdict):
    relation = Relation("one is better", ("a", "2:4", "int8"), ("b", "2:4", "int8"))
    relation = Relation("one", relation.better, relation.worse, margin)
    claim, where, middle, interval, seeds, found = _compared(relation, gains)
    assert (claim, where, seeds, found) == (
        "one",
        "2:4, int8",
        str(len(gains)),
        verdict,
    )
    assert middle == f"{mean(gains):+.2f}"
    if len(gains) == 3:
        half = 4.3027 * stdev(gains) / 3**0.5  # Student's t, 2 degrees of freedom
        low, high = (float(end) for end in interval.split(" to "))
        assert low == pytest.approx(mean(gains) - half, abs=0.006)
        assert high == pytest.approx(mean(gains) + half, abs=0.006)


def test_the_page_has_means_and_spreads_and_pairs_seeds():
    rows = [row("sr-ste", "2:4", s, a) for s, a in ((0, 0.80), (1, 0.82), (2, 0.87))]
    rows += [row("ste", "2:4", s, a) for s, a in ((0, 0.79), (1, 0.81), (3, 0.10))]
    rows += [{"name": "resnet/cast/2:4/float/0", "outcome": "fault", "note": "died"}]
    text = page(rows)
    assert "| `sr-ste` | 83.00 ± 3.50 | - |" in text
    # Seeds 0 and 1 are in both; each is 1 point better.
    claim = "| SR-STE is no worse than STE | 2:4 | +1.00 | +1.00 to +1.00 | 2 | holds |"
    assert claim in text
    assert "`cast`" not in text
    assert text.count("abc") == 1


def test_rows_survive_a_kill_in_the_middle_of_a_line(tmp_path):
    rows = Rows(tmp_path / "rows.jsonl")
    rows.append({"name": "a", "accuracy": 0.5})
    with rows.path.open("a") as stream:
        stream.write('{"name": "b", "accu')
    assert list(rows.read()) == ["a"]
    rows.append({"name": "c", "accuracy": 0.25})
    assert list(rows.read()) == ["a", "c"]
    assert rows.path.read_bytes().count(b"\n") == 2


def test_rows_of_others_are_not_taken_for_ones_own(tmp_path):
    """Two studies write to one file, as `make peers` does beside `make baselines`."""
    rows = Rows(tmp_path / "rows.jsonl")
    rows.append({"name": "before", "n": 1})
    begin = rows.path.stat().st_size
    for name in ("other", "b", "another", "a"):
        rows.append({"name": name})
    assert [r["name"] for r in _made(rows.path, begin, ["a", "b", "c"])] == ["b", "a"]


def test_a_page_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no run has been finished"):
        page([{"name": "resnet/ste/2:4/float/0", "outcome": "fault", "note": "died"}])


def test_the_command_makes_rows_once_and_the_page_of_them(tmp_path, capfd):
    only = ["resnet/sr-ste/2:4/int8/0", "resnet/random-erk/80%/float/0"]
    command = ["study", "baselines", "--quick", "--output", str(tmp_path), "--only"]
    shown = ["--page", str(tmp_path / "page.md")]
    assert main([*command, *only, *shown]) == 0
    lines = (tmp_path / "quick/baselines.jsonl").read_text().splitlines()
    found = {r["name"]: r for r in map(json.loads, lines)}
    assert set(found) == set(only)
    sparse = found[only[0]]
    assert 0.05 < sparse["accuracy"] < 1
    assert abs(sparse["accuracy"] - sparse["keras_accuracy"]) < 0.05
    # But for the stem, whose 24 x 9 of 164,000 weights have no groups.
    assert sparse["zeros"] == pytest.approx(0.5, abs=0.01)
    assert found[only[1]]["zeros"] == pytest.approx(0.8, abs=0.01)
    assert "`random-erk`" in (tmp_path / "page.md").read_text()
    assert "2/2" in capfd.readouterr().err
    assert main([*command, *only]) == 0
    assert (tmp_path / "quick/baselines.jsonl").read_text().splitlines() == lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "resnet/sr_ste/*"], "no run is named resnet/sr_ste/*"),
        (["--seeds", "0"], "--seeds must be 1 or more, got 0"),
        (["--quick", "--rows", "r.jsonl"], "Leave out --rows"),
    ],
)
def test_wrong_input_is_one_line(arguments, message, tmp_path, capsys):
    code = main(["study", "baselines", "--output", str(tmp_path / "out"), *arguments])
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()
