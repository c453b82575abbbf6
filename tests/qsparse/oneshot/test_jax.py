"""One shot on the JAX backend."""

import os
import subprocess
import sys
from pathlib import Path


def test_one_shot_on_jax(tmp_path):
    worker = "tests.qsparse.oneshot.jax_worker"
    run = subprocess.run(
        [sys.executable, "-m", worker, str(tmp_path / "m.keras")],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert "compressed on JAX" in run.stdout
