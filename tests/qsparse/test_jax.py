"""The core and the callbacks on the JAX backend."""

import os
import subprocess
import sys
from pathlib import Path


def test_training_on_jax(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "tests.qsparse.jax_worker", str(tmp_path / "m.keras")],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert "trained on JAX" in run.stdout
