"""What README and notebook show is what runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from qsparse import cli
from qsparse.methods import criteria
from qsparse.methods.criteria import CRITERIA
from qsparse.recipes.study import interplay_report
from qsparse.recipes.study.interplay_config import Config
from qsparse.recipes.study.rows import Rows

ROOT = Path(__file__).parents[1]


def _python_blocks(path):
    text = path.read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_readme_example_runs(tmp_path, monkeypatch):
    (example,) = _python_blocks(ROOT / "README.md")
    shown = [line for line in example.splitlines() if line.strip()]
    assert len(shown) - sum("import" in line for line in shown) <= 15
    run = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert "4x4 blocks" in run.stdout
    assert re.search(r"^class \d expected \d$", run.stdout, re.M)
    assert (tmp_path / "model.tflite").stat().st_size > 10_000
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(
        r"^qsparse ((?:inspect|bench|pack|unpack) [^#\n]*)", readme, re.M
    )
    assert len(commands) >= 4
    for command in commands:
        assert cli.main(command.split()) == 0, command


def _run_example(page, folder):
    """Run the example of a page, block after block; return what it prints."""
    example = "\n".join(_python_blocks(ROOT / "docs" / page))
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", example],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_example_of_the_page_on_sparsity_runs(tmp_path):
    printed = _run_example("sparsity.md", tmp_path)
    assert "by how much it is worse with one layer" in printed
    assert "leave alone: (" in printed
    assert "4x4 blocks" in printed


def test_the_example_of_the_page_on_rules_runs(tmp_path):
    printed = _run_example("rules.md", tmp_path)
    assert "dense by rule 3" in printed and "2:4" in printed
    assert "pattern: rule 2 overrules rule 1 in" in printed


def test_the_exercise_of_contributing_runs(tmp_path, monkeypatch):
    """A file, a row, and a test: registered under the module that the text names."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (name,) = re.findall(r"`qsparse/methods/criteria/([a-z]+)\.py`", text)
    file, row, use = _python_blocks(ROOT / "CONTRIBUTING.md")
    (tmp_path / f"{name}.py").write_text(file, encoding="utf-8")
    monkeypatch.setattr(CRITERIA, "classes", dict(CRITERIA.classes))
    monkeypatch.setattr(criteria, "__path__", [*criteria.__path__, str(tmp_path)])
    monkeypatch.delattr(criteria, name, raising=False)
    monkeypatch.delitem(sys.modules, f"qsparse.methods.criteria.{name}", raising=False)
    exec(row + use, {})
    assert CRITERIA.classes[name].__module__ == f"qsparse.methods.criteria.{name}"


def test_the_example_of_the_page_on_one_shot_runs(tmp_path):
    assert "sparsegpt on 128 samples" in _run_example("oneshot.md", tmp_path)
    assert (tmp_path / "model.tflite").stat().st_size > 10_000


def test_the_example_of_the_page_on_recovery_runs(tmp_path):
    printed = _run_example("recovery.md", tmp_path)
    assert "4x4 blocks" in printed
    assert re.search(r"^guarded: \d+% of 90%$", printed, re.M)


def test_the_example_of_the_page_on_interplay_runs(tmp_path):
    printed = _run_example("interplay.md", tmp_path)
    assert (tmp_path / "propagation.png").stat().st_size > 5000
    assert "S->Q: without interaction it would be" in printed
    assert re.search(r"^(2:4/50%|4x4 blocks/75%)/int[48]/[SQ]->[SQ]$", printed, re.M)
    assert "rounding costs" in printed
    lines = printed.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("format"))
    rows = [line.split() for line in lines[first + 1 : first + 5]]
    assert [row[0] for row in rows] == ["int8", "mxfp6", "hbfp6", "int4"]
    for _, pruned, quantized, both, *_ in rows:
        assert float(both) <= float(pruned) + float(quantized)
    assert "not orthogonal" in lines[-1]


def test_the_file_of_the_page_on_interplay_is_what_a_study_does_by_itself(tmp_path):
    text = (ROOT / "docs/interplay.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    path = tmp_path / "study.yaml"
    path.write_text(shown)
    assert Config.read(path) == Config()
    assert Config.read(ROOT / "docs/interplay/study.yaml") == Config()


def test_the_report_on_interplay_is_that_of_the_rows_beside_it(tmp_path, monkeypatch):
    """But for its figures, which take long to draw."""
    monkeypatch.setattr(interplay_report, "_FIGURES", {})
    kept = ROOT / "docs/interplay"
    interplay_report.write_report(tmp_path, Rows(kept / "rows.jsonl").read())
    for name in ("interplay.csv", "interplay.json"):
        assert (tmp_path / name).read_text() == (kept / name).read_text()
    page = (kept / "report.html").read_text()
    assert page.count("<img ") == 8
    bare = re.sub(r"<p>[^<]*</p><img [^>]*>", "", page)
    assert (tmp_path / "report.html").read_text() == bare


def test_links_of_the_readme_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if ":" not in link]
    assert len(links) >= 6
    assert all((ROOT / link).is_file() for link in links)


def _run_notebook(name, folder, monkeypatch):
    """Run a notebook on its small setting; return what it prints."""
    monkeypatch.setenv("QSPARSE_QUICK", "1")
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return "".join(
        output.get("text", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )


def test_the_notebook_to_start_with_runs(tmp_path, monkeypatch):
    printed = _run_notebook("01_quickstart.ipynb", tmp_path, monkeypatch)
    assert "accuracy of the int8 sparse file" in printed
    assert "ours sparse" in printed


def test_the_notebook_on_orders_runs(tmp_path, monkeypatch):
    printed = _run_notebook("02_orders.ipynb", tmp_path, monkeypatch)
    assert re.search(r"^int3 +(0\.\d{3} +){5}\d+\.\d%$", printed, re.M)
    assert "S->Q: without interaction it would be" in printed
    assert re.search(r"^Q->S: threshold \d", printed, re.M)


def test_demo_runs(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "qsparse.cli", "demo", "--quick"],
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "120"},
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    report = json.loads((tmp_path / "demo/report.json").read_text())
    assert report["bit_exact_vs_xnnpack"]
    assert report["bit_exact_images"] == 2000
    assert report["int8_share_of_macs"] == 1.0
    assert report["max_lsb_vs_keras"] <= 2
    assert 0.70 < report["weight_sparsity"] < 0.80
    assert report["size_bytes"]["int8_sparse"] < report["size_bytes"]["float_dense"] / 3
    assert (tmp_path / "demo/results.png").read_bytes().startswith(b"\x89PNG")
    assert "int8 sparse, qsparse" in run.stdout


def test_folders_are_one_package():
    """The four top-level folders are never imported under their bare names."""
    code = (
        "import sys, qsparse.callbacks, qsparse.recipes.demo, qsparse.tflite_export;"
        "bad = {'callbacks', 'recipes', 'tflite_export'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=False, timeout=120)
    assert run.returncode == 0
