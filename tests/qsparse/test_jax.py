"""The core and the callbacks on the JAX backend."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np


def run_worker(name, result, backend):
    run = subprocess.run(
        [sys.executable, "-m", f"tests.qsparse.{name}", str(result)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"KERAS_BACKEND": backend},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_training_on_jax(tmp_path):
    assert "trained on JAX" in run_worker("jax_worker", tmp_path / "m.keras", "jax")


def test_criteria_select_the_same_masks_on_both_backends(tmp_path):
    """Gradients differ in their last bits, and so may ranks of weights that tie."""
    found = {}
    for backend in ("tensorflow", "jax"):
        run_worker("criteria_worker", tmp_path / f"{backend}.npz", backend)
        found[backend] = np.load(tmp_path / f"{backend}.npz")
    ours, theirs = found["tensorflow"], found["jax"]
    assert sorted(ours.files) == sorted(theirs.files) and len(ours.files) > 100
    for key in ours.files:
        name, _, policy, _ = key.split("|")
        same = (ours[key] == theirs[key]).mean()
        print(key, same, ours[key].size)
