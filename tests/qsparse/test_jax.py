"""The core and the callbacks on the JAX backend."""

import numpy as np

from tests.apart import run_python


def run_worker(name, result, backend, **environment):
    worker = f"tests.qsparse.{name}"
    return run_python("-m", worker, result, backend=backend, **environment)


def test_training_on_jax(tmp_path):
    assert "trained on JAX" in run_worker("jax_worker", tmp_path / "m.keras", "jax")


def test_criteria_select_the_same_masks_on_both_backends(tmp_path):
    """Gradients differ in their last bits, where two weights may change places."""
    found = {}
    for backend in ("tensorflow", "jax"):
        quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # compiling is most of it
        run_worker("criteria_worker", tmp_path / f"{backend}.npz", backend, **quick)
        found[backend] = np.load(tmp_path / f"{backend}.npz")
    ours, theirs = found["tensorflow"], found["jax"]
    assert sorted(ours.files) == sorted(theirs.files) and len(ours.files) == 46
    for key in ours.files:
        _, name, policy, _ = key.split("|")
        differing = int((ours[key] != theirs[key]).sum())
        allowed = 0 if name in ("magnitude", "random") else 2
        if policy == "mixed_float16":  # 11 bits of every gradient
            allowed = max(allowed, 0.03 * ours[key].size)
        assert differing <= allowed, key
        assert ours[key].mean() == theirs[key].mean() < 0.6, key
