"""One shot on the JAX backend."""

from tests.apart import run_python


def test_one_shot_on_jax(tmp_path):
    worker = "tests.qsparse.oneshot.jax_worker"
    printed = run_python("-m", worker, tmp_path / "m.keras", backend="jax")
    assert "compressed on JAX" in printed
