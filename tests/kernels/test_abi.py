"""The library's border: its symbols, its life cycle and a runtime it cannot know."""

import ctypes
import platform
import re

import pytest
from elftools.elf.elffile import ELFFile

from benchmarks import one_op_models
from benchmarks.sparse_weights import sparse_weights

from . import runner


@pytest.fixture
def library():
    plugin = ctypes.CDLL(runner.LIBRARY)
    create = plugin.tflite_plugin_create_delegate
    create.restype = ctypes.c_void_p
    create.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_size_t, ctypes.c_void_p]
    plugin.tflite_plugin_destroy_delegate.argtypes = [ctypes.c_void_p]
    return plugin


@pytest.fixture(scope="module")
def elf():
    with open(runner.LIBRARY, "rb") as file:
        yield ELFFile(file)


def symbols(elf, *, defined):
    """Names of the dynamic symbols that the library defines, or asks for."""
    table = elf.get_section_by_name(".dynsym")
    return {
        symbol.name
        for symbol in table.iter_symbols()
        if symbol.name and (symbol["st_shndx"] != "SHN_UNDEF") == defined
    }


def test_exports_its_own_functions_and_nothing_else(elf):
    assert symbols(elf, defined=True) == {
        "qsparse_isas",
        "qsparse_xnnpack_isa",
        "tflite_plugin_create_delegate",
        "tflite_plugin_destroy_delegate",
    }


def test_imports_nothing_of_the_runtime(elf):
    imported = symbols(elf, defined=False)
    assert imported
    assert not [name for name in imported if "TfLite" in name or "LiteRt" in name]


def test_needs_no_newer_c_library_than_manylinux2014(elf):
    needed = elf.get_section_by_name(".gnu.version_r")
    names = {
        version.name for _, versions in needed.iter_versions() for version in versions
    }
    versions = {name.split("_")[1] for name in names if name.startswith("GLIBC_")}
    newest = max(tuple(int(part) for part in v.split(".")) for v in versions)
    assert newest <= (2, 17)


def test_create_and_destroy(library):
    for _ in range(3):
        delegate = library.tflite_plugin_create_delegate(None, None, 0, None)
        assert delegate
        library.tflite_plugin_destroy_delegate(delegate)
    library.tflite_plugin_destroy_delegate(None)


def may_use_amx_tiles():
    """Asks Linux, as every process must: arch_prctl(ARCH_REQ_XCOMP_PERM, TILEDATA)."""
    return ctypes.CDLL(None).syscall(158, 0x1023, 18) == 0


def test_names_what_xnnpack_runs_on(library):
    """As the flags that Linux lists say, from the newest kernels of XNNPACK on."""
    library.qsparse_xnnpack_isa.restype = ctypes.c_char_p
    has = runner.cpu_has
    avx512 = all(map(has, ("avx512f", "avx512bw", "avx512vl", "avx512dq")))
    vnni = avx512 and has("avx512_vnni")
    if vnni and has("gfni") and has("amx_int8") and may_use_amx_tiles():
        expected = "AMX"
    elif vnni:
        expected = "AVX512-VNNI"
    elif has("avx_vnni"):
        expected = "AVX-VNNI"
    elif avx512:
        expected = "AVX-512 without VNNI"
    else:
        expected = "AVX2" if has("avx2") else "instructions older than AVX2"
    assert library.qsparse_xnnpack_isa().decode() == expected


def test_has_kernels_for_every_isa_of_this_architecture():
    """What the library says of its kernels is what the table of ISAs promises."""
    table = (runner.KERNELS / "base" / "isas.inc").read_text()
    architecture = {"x86_64": "X86", "aarch64": "ARM"}[platform.machine()]
    rows = re.findall(r'^QSPARSE_ISA\(\w+, "(\w+)", (\w+)', table, re.MULTILINE)
    ours = [name for name, on in rows if on in ("Always", f"QSPARSE_ON_{architecture}")]
    assert "portable" in ours
    assert list(reversed(runner.ISAS)) == ours


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
    weights = sparse_weights((64, 64), "4x4", 0.3)
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
