"""The study of interplay: its file, its runs, and what its report concludes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import astuple
from statistics import mean, stdev

import numpy as np
import pytest

from qsparse.cli import main
from qsparse.recipes.opt import opt, windows
from qsparse.recipes.study import interplay
from qsparse.recipes.study.interplay_config import PROTOCOLS, Config, recipe_of
from qsparse.recipes.study.interplay_figures import excess
from qsparse.recipes.study.interplay_findings import Cell, Findings
from qsparse.recipes.study.interplay_report import claims, write_report
from qsparse.recipes.study.rows import Rows
from qsparse.recipes.study.training import Setting

ALL = interplay.all_runs(Config())


def test_every_run_has_a_name_of_its_own_that_leads_back_to_it():
    names = [run.name for run in ALL]
    assert len(set(names)) == len(names)
    assert [interplay.Run.named(name) for name in names] == ALL


def test_everything_a_threshold_takes_is_run_with_the_same_seeds():
    names = {run.name for run in ALL}
    found = Findings("resnet", {})
    both = [run for run in ALL if run.order != "-"]
    assert len(both) == 2 * 3 * 4 * 6 * 5  # networks, seeds, patterns, formats, arms
    for run in both:
        cell = Cell(*astuple(run)[1:5])
        for part in found.parts(cell):
            assert "/".join((run.network, *part, str(run.seed))) in names


def test_one_protocol_brings_what_it_is_held_against():
    runs = interplay.all_runs(Config(("resnet",), protocols=("fine-tuned",), seeds=1))
    kinds = {
        (run.protocol, run.pattern == "dense", run.format == "float") for run in runs
    }
    assert kinds == {
        ("dense", True, True),
        ("after", True, True),
        ("after", True, False),
        ("fine-tuned", False, True),
        ("analysis", False, False),
        ("fine-tuned", False, False),
    }


def test_what_is_measured_after_is_held_against_a_dense_network_measured_alike():
    runs = interplay.all_runs(Config(("resnet",), protocols=("after",), seeds=1))
    dense = [
        run.name for run in runs if (run.pattern, run.format) == ("dense", "float")
    ]
    assert dense == ["resnet/dense/dense/float/-/0", "resnet/after/dense/float/-/0"]
    found = Findings("resnet", {})
    parts = {p: found.parts(Cell(p, "2:4", "int4", "S->Q"))[0] for p in PROTOCOLS}
    assert {p: part.protocol for p, part in parts.items()} == {
        "after": "after",
        "fine-tuned": "after",
        "trained": "dense",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["interplay", "--page", "p.md"], "interplay does not take --page"),
        (["interplay", "--seeds", "2"], "interplay does not take --seeds"),
        (["baselines", "--report", "r"], "baselines does not take --report"),
        (["baselines", "c.yaml"], "baselines does not take a file"),
    ],
)
def test_what_another_study_takes_is_an_error(arguments, message, capsys):
    assert main(["study", *arguments, "--list"]) == 2
    assert message in capsys.readouterr().err


def test_only_the_order_differs_between_recipes_of_one_cell():
    first, late = (recipe_of("4x4@75%", "hbfp6", order) for order in ("S->Q", "Q->S"))
    assert (first.order, late.order) == ("S->Q", "Q->S")
    assert first.to_dict() | {"order": ""} == late.to_dict() | {"order": ""}
    assert (first.sparsity, str(first.format)) == (0.75, "hbfp6")
    assert recipe_of("2:4", None).quantize is False
    assert recipe_of(None, "int4").pattern is None


def row(**settings):
    made = {"seconds": 1.0, "commit": "abc", "cpu": "a CPU", "date": "2026-01-01"}
    return made | {"keras": "3", "accuracy": 0.9, "loss": 0.3} | settings


def rows_of(losses):
    """Return rows of one network: name without seed -> a loss for each seed."""
    return {
        f"net/{name}/{seed}": row(loss=loss, accuracy=1 - loss)
        for name, seeds in losses.items()
        for seed, loss in enumerate(seeds)
    }


LOSSES = {
    "dense/dense/float/-": [0.30, 0.32, 0.31],
    "trained/2:4/float/-": [0.35, 0.36, 0.36],
    "trained/dense/int4/-": [0.33, 0.35, 0.33],
    "trained/2:4/int4/S->Q": [0.39, 0.41, 0.42],
    "trained/2:4/int4/Q->S": [0.43, 0.44, 0.44],
    "after/dense/float/-": [0.31, 0.33, 0.32],
    "after/dense/int4/-": [0.50, 0.51, 0.52],
    "fine-tuned/2:4/float/-": [0.37, 0.38, 0.38],
    "fine-tuned/2:4/int4/S->Q": [0.55, 0.57, 0.56],
}


def test_thresholds_and_gaps_are_those_of_a_pencil():
    found = Findings("net", rows_of(LOSSES))
    landed = found.threshold(Cell("trained", "2:4", "int4", "S->Q"))
    beyond = [0.39 - 0.38, 0.41 - 0.39, 0.42 - 0.38]
    assert landed.exceeds == pytest.approx(mean(beyond))
    assert landed.value == pytest.approx(mean([0.38, 0.39, 0.38]))
    half = 4.3027 * stdev(beyond) / 3**0.5
    assert landed.half_interval == pytest.approx(half, rel=1e-3)
    tuned = found.threshold(Cell("fine-tuned", "2:4", "int4", "S->Q"))
    assert tuned.value == pytest.approx(
        mean([0.37 + 0.5 - 0.31, 0.38 + 0.51 - 0.33, 0.38 + 0.52 - 0.32])
    )
    assert found.pooled_gap("trained", "int4").mean == pytest.approx(
        mean([0.04, 0.03, 0.02])
    )
    assert found.confounded("int4").mean == pytest.approx(
        mean([0.43 - 0.55, 0.44 - 0.57, 0.44 - 0.56])
    )
    by_accuracy = Findings("net", rows_of(LOSSES), "accuracy")
    assert by_accuracy.pooled_gap("trained", "int4").mean == pytest.approx(0.03)


def test_the_heat_map_has_the_mean_excess_of_each_place():
    rows = rows_of(LOSSES | {"trained/1:4/int8/S->Q": [0.5]})
    grid = excess(Findings("net", rows), "trained", "S->Q")
    assert grid.shape == (2, 2)  # 2:4 and 1:4, int4 and int8
    assert grid[0, 0] == pytest.approx(mean([0.01, 0.02, 0.04]))
    assert np.isnan(grid).sum() == 3


def test_a_forecast_is_judged_by_ranks_and_by_the_orders_it_told():
    losses = {
        f"trained/{pattern}/int4/{order}": [loss]
        for pattern, pair in {"a": (1, 2), "b": (3, 2), "c": (4, 5)}.items()
        for order, loss in zip(("S->Q", "Q->S"), pair, strict=True)
    }
    rows = rows_of(losses)
    for pattern, first, late in (("a", 0.1, 0.2), ("b", 0.2, 0.3), ("c", 0.9, 1.0)):
        values = {"S->Q": first, "Q->S": late}
        rows[f"net/analysis/{pattern}/int4/-/0"] = row(
            analysis={"values": values, "layers": []}
        )
    agreement = Findings("net", rows).forecast("trained")
    assert agreement == (pytest.approx(1.0), 3, 2, 3)  # of b the other order is better
    assert Findings("net", rows).forecast("after") is None


def test_a_seed_that_one_part_lacks_does_not_count():
    rows = rows_of(LOSSES)
    del rows["net/dense/dense/float/-/0"]
    found = Findings("net", rows)
    cell = Cell("trained", "2:4", "int4", "S->Q")
    assert found.exceeds(cell) == pytest.approx({1: 0.02, 2: 0.04})
    rows = {n: r for n, r in rows.items() if "dense/float" not in n}
    assert Findings("net", rows).threshold(cell) is None


def test_patterns_with_other_seeds_are_paired_by_seed():
    more = {
        "trained/1:4/int4/S->Q": [0.5],
        "trained/1:4/int4/Q->S": [0.7],
    }
    rows = rows_of(LOSSES | more)
    rows["net/trained/1:4/int4/S->Q/2"] = rows.pop("net/trained/1:4/int4/S->Q/0")
    rows["net/trained/1:4/int4/Q->S/2"] = rows.pop("net/trained/1:4/int4/Q->S/0")
    gap = Findings("net", rows).pooled_gap("trained", "int4")
    assert gap.count == 1
    assert gap.mean == pytest.approx(mean([0.02, 0.2]))


def test_claims_say_whether_they_hold_beyond_noise():
    found = {
        (claim, where): difference.verdict
        for claim, where, difference in claims(Findings("net", rows_of(LOSSES)))
    }
    assert found["Q->S is worse than S->Q", "trained, int4"] == "yes"
    cost = "together they cost more than the sum (S->Q)"
    assert found[cost, "trained, int4"] == "not told apart"
    (paper,) = (v for (claim, _), v in found.items() if "confounded" in claim)
    assert paper == "no, less"


def test_the_report_needs_nothing_else_and_escapes_names(tmp_path):
    rows = rows_of(LOSSES)
    rows["net/analysis/2:4/int4/-/0"] = row(
        analysis={
            "values": {"S->Q": 0.6, "Q->S": 0.7},
            "layers": [
                {"path": "a", "arriving": {"S->Q": 0.1}},
                {"path": "b", "arriving": {"S->Q": 0.2, "Q->S": 0.3}},
            ],
        }
    )
    rows |= {name.replace("net/", "<b>/"): r for name, r in rows.items()}
    rows["net/trained/2:4/int8/S->Q/0"] = {"outcome": "fault", "note": "died"}
    write_report(tmp_path / "report", rows)
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<h2>&lt;b&gt;</h2>" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert page.count("data:image/png;base64,") == 2 * 4
    assert "69.00 ± 1.00" in page  # 1 - 0.31, dense
    lines = (tmp_path / "report" / "interplay.csv").read_text().splitlines()
    assert len(lines) == 1 + len(rows) - 1
    summary = json.loads((tmp_path / "report" / "interplay.json").read_text())
    assert {each["network"] for each in summary} == {"net", "<b>"}
    assert (tmp_path / "report" / "net-order.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="no run has been finished"):
        write_report(tmp_path / "none", {"net/a": {"outcome": "fault"}})
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "networks: [alexnet]",
            "networks may hold resnet, vit, minilm, opt. Received: 'alexnet'",
        ),
        ("seeds: 0", "seeds must be a positive number. Received: 0"),
        ("seed: 3", "keys networks, patterns"),
        ("patterns: '2:4'", "patterns must be a list of text"),
        ("patterns: [2:4]", 'quoted as "2:4". Received: [124]'),
        ("patterns: ['4x4@0.75']", "patterns may hold text as 2:4 or 4x4@75%"),
        ("patterns: ['4x4@lots']", "patterns may hold text as 2:4 or 4x4@75%"),
        ("patterns: ['2:4', '2:4']", "patterns names something twice"),
        ("formats: [int99]", "bits"),
        ("formats: [float]", "float"),
        ("orders: [Q-S]", "orders may hold S->Q, Q->S. Received: 'Q-S'"),
        ("- 2:4", "must hold some of the keys"),
        ("patterns: [", "is no YAML file"),
    ],
)
def test_a_wrong_file_is_one_line(text, message, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(text)
    output = tmp_path / "out"
    code = main(["study", "interplay", str(config), "--output", str(output)])
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not output.exists()


def test_the_command_makes_rows_that_survive_a_kill(tmp_path):
    """Killed in the middle, called again: every row once, and a report."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "networks: [resnet]\npatterns: ['2:4']\nformats: [hbfp4]\nseeds: 1\n"
        "protocols: [after]\norders: [S->Q]\n"
    )
    rows = Rows(tmp_path / "quick" / "interplay.jsonl")
    command = ["study", "interplay", str(config), "--quick", "--output", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "qsparse.cli", *command],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    deadline = time.monotonic() + 300
    while len(rows.read()) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = rows.read()
    assert len(before) >= 2
    assert main([*command, "--report", str(tmp_path / "report")]) == 0
    found = rows.read()
    config = Config.read(config)
    assert set(found) == {run.name for run in interplay.all_runs(config)}
    assert {name: found[name] for name in before} == before
    lines = rows.path.read_text().splitlines()
    assert len(lines) == len(found)
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000


def test_runs_of_each_kind_end_with_a_network_that_is_worth_something(tmp_path):
    setting = Setting(tmp_path, share=0.05, epochs=1)
    found = {
        name: interplay.carry_out(
            interplay.Run.named(f"resnet/{name}/0"), setting, "abc"
        )
        for name in (
            "dense/dense/float/-",
            "after/dense/float/-",
            "fine-tuned/2:4/float/-",
            "fine-tuned/2:4/hbfp4/S->Q",
            "trained/2:4/hbfp4/Q->S",
        )
    }
    assert all(0 < r["accuracy"] < 1 and 0 < r["loss"] < 9 for r in found.values())
    losses = [row["loss"] for row in found.values()]
    # Statistics are estimated anew after training, and no two are the same network.
    assert len(set(losses)) == len(losses)


def test_a_text_is_cut_into_pieces_and_what_follows():
    x, y = windows("ABCDE\u00e9gh", 3)
    assert "".join(map(chr, x.ravel())) == "abcde?"
    assert "".join(map(chr, y.ravel())) == "bcde?g"
    assert x.shape == y.shape == (2, 3)


def test_the_opt_sees_only_what_comes_before():
    model = opt(length=12, width=16, blocks=1, heads=2)
    tokens = np.random.default_rng(0).integers(128, size=(2, 12)).astype("int32")
    before = model.predict(tokens, verbose=0)
    assert before.shape == (2, 12, 128)
    tokens[:, 7:] = 65
    after = model.predict(tokens, verbose=0)
    np.testing.assert_allclose(after[:, :7], before[:, :7], atol=1e-5)
    assert np.abs(after[:, 7:] - before[:, 7:]).max() > 1e-3


def test_a_language_model_is_reported_by_its_perplexity(tmp_path):
    rows = {n.replace("net/", "opt/"): r for n, r in rows_of(LOSSES).items()}
    write_report(tmp_path, rows)
    page = (tmp_path / "report.html").read_text()
    assert "Perplexity of the test text" in page
    dense = mean(np.exp([0.30, 0.32, 0.31]))
    assert f"dense {dense:.2f} ± 0.01" in page
