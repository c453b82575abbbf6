"""SIGKILL in the middle of an epoch, then resume: equal bit for bit."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def _train(backup, result, die_at):
    command = [sys.executable, "-m", "tests.callbacks.resume_worker"]
    return subprocess.run(
        [*command, str(backup), str(result), str(die_at)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Return what a training ends with that nobody kills."""
    folder = tmp_path_factory.mktemp("straight")
    run = _train(folder / "backup", folder / "straight.npz", -1)
    assert run.returncode == 0, run.stderr
    return np.load(folder / "straight.npz")


@pytest.mark.parametrize("die_at", [30, 70], ids=["while pruning", "while quantizing"])
def test_resume_is_bit_exact(tmp_path, die_at, straight):
    killed = _train(tmp_path / "b", tmp_path / "resumed.npz", die_at)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "resumed.npz").exists()
    resumed = _train(tmp_path / "b", tmp_path / "resumed.npz", -1)
    assert resumed.returncode == 0, resumed.stderr

    expected = straight
    actual = np.load(tmp_path / "resumed.npz")
    assert sorted(expected.files) == sorted(actual.files)
    for part in ("kernel", "mask", "ranges", "clock", "momentum"):
        assert any(part in name for name in expected.files), part
    for name in expected.files:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)
