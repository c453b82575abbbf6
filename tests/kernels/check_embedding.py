"""The delegate outside Python: from C++, from Java, linked statically, for phones.

Not collected with the other tests, because it needs a JDK and downloads runtimes:
`make example` runs it.
"""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys

import pytest
import ziglang

from benchmarks import one_op_models
from benchmarks.sparse_weights import sparse_weights

from . import runner

ROOT = pathlib.Path(__file__).parents[2]
KERNELS = ROOT / "tflite_export/kernels"
HERE = pathlib.Path(__file__).parent
BUILD = ROOT / "build/example"
ZIG = str(pathlib.Path(ziglang.__file__).parent / "zig")

RUNTIMES = {
    "2.17.1": "pymicro_wakeword/lib/libtensorflowlite_c.so",
    "2.23.0": "litert_lm/liblitert-lm.so",
}
MODELS = {
    "fully_connected": lambda: one_op_models.fully_connected_model(
        sparse_weights((256, 192), "4x4", 0.25), 40
    ),
    "convolution": lambda: one_op_models.conv2d_model(
        sparse_weights((32, 3, 3, 24), "4x4", 0.25), 14, 14
    ),
}


def run(*command, **options):
    """What a command printed; it must succeed."""
    result = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def cmake(name, *arguments, targets=("all",), environment=None):
    """The folder in which `targets` were built."""
    folder = BUILD / name
    tools = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **(environment or {}), "PATH": tools}
    run(
        *("cmake", "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"),
        *arguments,
        cwd=KERNELS,
        env=environment,
    )
    run("cmake", "--build", folder, "--target", *targets, env=environment)
    return folder


def exports(library):
    output = run("nm", "--dynamic", "--defined-only", library)
    return {line.split()[-1] for line in output.splitlines()}


@pytest.fixture(scope="session")
def java_home():
    compiler = shutil.which("javac")
    if compiler is None:
        pytest.fail("needs a JDK; on Debian or Ubuntu: apt install openjdk-17-jdk")
    return pathlib.Path(compiler).resolve().parents[1]


@pytest.fixture(scope="session")
def native(java_home):
    """The static and the JNI library for this machine."""
    return cmake(
        "native",
        *("-S", KERNELS, f"-DPython_EXECUTABLE={sys.executable}"),
        *("-DQSPARSE_JNI=ON", f"-DJAVA_HOME={java_home}"),
        targets=("qsparse_delegate_static", "qsparse_jni"),
    )


@pytest.fixture(scope="session", params=RUNTIMES)
def example(request):
    """The C++ example, built against one runtime, and that runtime's version."""
    library = BUILD / "runtimes" / RUNTIMES[request.param]
    assert library.exists(), "`make example` fetches the runtimes"
    folder = cmake(
        f"run_model-{request.param}",
        *("-S", KERNELS / "embed/examples", f"-DTFLITE_LIBRARY={library}"),
    )
    return folder / "run_model", request.param


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("isa", ["auto", "portable"])
def test_cpp_example_equals_the_runtime(example, name, isa, tmp_path):
    program, version = example
    model, plan = tmp_path / "model.tflite", tmp_path / "plan.json"
    model.write_bytes(MODELS[name]().content)
    options = ("min_gain=0", f"isa={isa}", f"plan={plan}")
    printed = run(program, model, runner.LIBRARY, *options)
    assert f"TensorFlow Lite {version}" in printed
    assert "outputs         0 of" in printed
    (decision,) = json.loads(plan.read_text())
    assert decision["claimed"], decision


def test_cpp_example_leaves_dense_layers_to_the_runtime(example, tmp_path):
    program, _ = example
    model, plan = tmp_path / "model.tflite", tmp_path / "plan.json"
    weights = sparse_weights((64, 64), "dense")
    model.write_bytes(one_op_models.fully_connected_model(weights, 40).content)
    options = ("min_gain=100", f"plan={plan}")
    assert "0 of" in run(program, model, runner.LIBRARY, *options)
    assert not json.loads(plan.read_text())[0]["claimed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "usage"),
        (("missing.tflite", runner.LIBRARY), "cannot read missing.tflite"),
        (("model.tflite", "missing.so"), "missing.so"),
        (("model.tflite", runner.LIBRARY, "threads"), "not option=value"),
        (("model.tflite", runner.LIBRARY, "speed=11"), "unknown option 'speed'"),
    ],
)
def test_cpp_example_says_what_is_wrong(example, arguments, message, tmp_path):
    program, _ = example
    (tmp_path / "model.tflite").write_bytes(MODELS["convolution"]().content)
    result = subprocess.run(
        [program, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert message in result.stderr


def test_java_class(native, java_home, tmp_path):
    ours = KERNELS.glob("embed/android/java/**/*.java")
    sources = [*ours, *HERE.glob("java/**/*.java")]
    javac = (java_home / "bin/javac", "-Xlint:all,-options", "-Werror")
    run(*javac, "--release", "8", "-d", tmp_path, *sources)
    printed = run(
        *(java_home / "bin/java", "-Xcheck:jni", f"-Djava.library.path={native}"),
        *("-cp", tmp_path, "QSparseDelegateTest"),
    )
    assert printed == "7 passed, 0 failed\n"


def test_jni_library_exports_its_two_functions(native):
    assert exports(native / "libqsparse_jni.so") == {
        "Java_io_github_qsparse_QSparseDelegate_create",
        "Java_io_github_qsparse_QSparseDelegate_destroy",
    }


def link_statically(target, library, program):
    run(
        *(ZIG, "c++", "-target", target, f"-I{KERNELS}/embed"),
        *("-x", "c", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"),
        *(HERE / "static_link.c", "-x", "none", library, "-o", program),
    )


def test_static_library_from_c(native, tmp_path):
    program = tmp_path / "static_link"
    link_statically("native", native / "libqsparse_delegate.a", program)
    assert run(program) == "ok\n"


def build_version(mach_o):
    """Platform and oldest system of a 64-bit arm64 Mach-O file."""
    magic, cpu, _, _, commands = struct.unpack_from("<5I", mach_o)
    assert (magic, cpu) == (0xFEEDFACF, 0x0100000C)
    offset = 32
    for _ in range(commands):
        command, size, platform, oldest = struct.unpack_from("<4I", mach_o, offset)
        if command == 0x32:  # LC_BUILD_VERSION
            return {1: "macos", 2: "ios"}[platform], oldest >> 16
        offset += size
    raise AssertionError("no build version")


@pytest.mark.parametrize("target", ["aarch64-macos.11.0", "aarch64-ios.13.0"])
def test_apple_static_library(target, tmp_path):
    """Compiled for Apple's systems and, for macOS, linked; not run on a device."""
    folder = cmake(
        target,
        *("-S", KERNELS, f"-DZIG={ZIG}", f"-DZIG_TARGET={target}"),
        f"-DCMAKE_TOOLCHAIN_FILE={KERNELS}/cmake/zig_apple.cmake",
        targets=("qsparse_delegate_static",),
    )
    library = folder / "libqsparse_delegate.a"
    run(ZIG, "ar", "x", library, "qsparse_delegate.cc.o", cwd=tmp_path)
    system, oldest = target.removeprefix("aarch64-").split(".")[:2]
    member = (tmp_path / "qsparse_delegate.cc.o").read_bytes()
    assert build_version(member) == (system, int(oldest))
    assert b"_QSparseDelegateCreate" in member
    if system == "macos":  # zig has the system's stubs for macOS only
        program = tmp_path / "static_link"
        link_statically(target, library, program)
        assert build_version(program.read_bytes()) == (system, int(oldest))


def test_android_preset(java_home):
    """The preset with a stand-in for the NDK; not run on a device."""
    toolchain = BUILD / "ndk/build/cmake/android.toolchain.cmake"
    toolchain.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "ndk_stand_in.cmake", toolchain)
    folder = cmake(
        "android",
        *("--preset", "android-arm64", f"-DZIG={ZIG}"),
        *("-DZIG_TARGET=aarch64-linux-musl", f"-DJNI_INCLUDE={java_home}/include"),
        targets=("qsparse_delegate", "qsparse_jni"),
        environment={"ANDROID_NDK": str(BUILD / "ndk")},
    )
    plugin, jni = (folder / f"libqsparse_{name}.so" for name in ("delegate", "jni"))
    assert len(exports(jni)) == 2
    assert exports(plugin) == {
        "qsparse_isas",
        "qsparse_xnnpack_isa",
        "tflite_plugin_create_delegate",
        "tflite_plugin_destroy_delegate",
    }
    for library in (plugin, jni):
        data = library.read_bytes()
        machine, (table,) = data[18], struct.unpack_from("<Q", data, 32)
        assert machine == 183  # arm64
        size, count = struct.unpack_from("<2H", data, 54)
        headers = [data[table + i * size :][:size] for i in range(count)]
        loads = [h for h in headers if struct.unpack_from("<I", h)[0] == 1]
        assert loads
        assert all(struct.unpack_from("<Q", h, 48)[0] == 16384 for h in loads)
