"""The library's border: its symbols, its life cycle and a runtime it cannot know."""

import ctypes
import shutil
import subprocess

import pytest

from .. import one_op_models
from . import runner


@pytest.fixture
def library():
    plugin = ctypes.CDLL(runner.LIBRARY)
    create = plugin.tflite_plugin_create_delegate
    create.restype = ctypes.c_void_p
    create.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_size_t, ctypes.c_void_p]
    plugin.tflite_plugin_destroy_delegate.argtypes = [ctypes.c_void_p]
    return plugin


def symbols(*flags):
    tool = shutil.which("nm") or shutil.which("llvm-nm")
    if tool is None:
        pytest.skip("needs nm")
    output = subprocess.run(
        [tool, "--dynamic", *flags, runner.LIBRARY],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {line.split()[-1] for line in output.splitlines() if line.strip()}


def test_exports_the_two_plugin_functions_and_nothing_else():
    assert symbols("--defined-only") == {
        "tflite_plugin_create_delegate",
        "tflite_plugin_destroy_delegate",
    }


def test_imports_nothing_of_the_runtime():
    imported = symbols("--undefined-only")
    assert not [name for name in imported if "TfLite" in name or "LiteRt" in name]
    versions = {name.split("GLIBC_")[1] for name in imported if "GLIBC_" in name}
    newest = max(tuple(int(part) for part in v.split(".")) for v in versions)
    assert newest <= (2, 17), "must load on every manylinux2014 system"


def test_create_and_destroy(library):
    for _ in range(3):
        delegate = library.tflite_plugin_create_delegate(None, None, 0, None)
        assert delegate
        library.tflite_plugin_destroy_delegate(delegate)
    library.tflite_plugin_destroy_delegate(None)


def test_missing_option_arrays_are_refused(library):
    assert not library.tflite_plugin_create_delegate(None, None, 2, None)


def test_a_runtime_with_another_layout_is_left_alone(library, capfd):
    """A context of zeros: the delegate declines everything and does not crash."""
    delegate = library.tflite_plugin_create_delegate(None, None, 0, None)
    prepare_slot = ctypes.c_void_p.from_address(
        delegate + ctypes.sizeof(ctypes.c_void_p)
    )
    prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)
    context = ctypes.create_string_buffer(512)
    status = prototype(prepare_slot.value)(ctypes.addressof(context), delegate)
    library.tflite_plugin_destroy_delegate(delegate)
    assert status == 0
    assert "runtime not understood" in capfd.readouterr().err


def test_one_delegate_in_two_interpreters():
    weights = one_op_models.sparse_weights((64, 64), "4x4", 0.3)
    model = one_op_models.fully_connected_model(weights, 40)
    x = model.input()
    delegate = runner.load_delegate(runner.LIBRARY, {"min_gain": "0", "threads": "2"})
    expected = runner.invoke(runner.interpreter(model), x)
    for _ in range(2):
        ours = runner.Interpreter(
            model_content=model.content, experimental_delegates=[delegate]
        )
        ours.allocate_tensors()
        assert (runner.invoke(ours, x) == expected).all()
