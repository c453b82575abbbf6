"""The rooms of the kernels: arrows between them go one way."""

import pathlib
import re

import pytest

KERNELS = pathlib.Path(__file__).parents[2] / "tflite_export" / "kernels"
SOURCES = {".h", ".cc", ".inc"}

# Every room, and those below it that it sees by its own right; it sees what they see,
# too. None is above itself: a row may only name rows before it.
ARROWS = {
    "base": (),
    "litert": (),
    "graph": ("base",),
    "read": ("graph", "litert"),
    "add": ("graph",),
    "layers": ("graph",),
    "bytes": ("layers",),
    "regions": ("layers",),
    "blocks": ("add", "layers"),
    "rows": ("blocks",),
    "chain": ("blocks",),
    "matmul": ("blocks",),
    "softmax": ("blocks",),
    "plan": ("chain", "matmul", "softmax", "rows", "regions", "read"),
    "delegate": ("bytes", "plan"),
    "embed": ("delegate",),
    "bench": ("base",),
}
# Holds no sources of the library.
OTHER_FOLDERS = {"cmake"}
# Applications: they include what they are shipped with, by its bare name.
APPLICATIONS = ("embed/examples",)


def rooms_below(room):
    """A room and all it may include."""
    return {room}.union(*map(rooms_below, ARROWS[room]))


def sources(kernels):
    """Every source file, by its path below the kernels."""
    files = (path for path in kernels.rglob("*") if path.suffix in SOURCES)
    names = {path.relative_to(kernels).as_posix(): path for path in files}
    return {
        name: path.read_text()
        for name, path in names.items()
        if not name.startswith(APPLICATIONS)
    }


def includes(text):
    return re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.MULTILINE)


def faults(files):
    """What is wrong with the includes of these files, each a sentence."""
    found = []
    for name, text in files.items():
        room = name.partition("/")[0]
        if room not in ARROWS:
            found.append(f"{name} lies in no room")
            continue
        for included in includes(text):
            target = included.partition("/")[0]
            if included not in files:
                found.append(f"{name}: {included} is no path from the kernels' root")
            elif target not in rooms_below(room):
                found.append(f"{name}: {room} must not include {target} ({included})")
    return found


def cycle(files):
    """Files that include each other in a ring, a source being one with its header."""

    def unit(name):
        return re.sub(r"\.(cc|h)$", "", name)

    below = {}
    for name, text in files.items():
        found = {unit(included) for included in includes(text)} - {unit(name)}
        below.setdefault(unit(name), set()).update(found)
    done, path = set(), []

    def visit(name):
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        path.append(name)
        for other in sorted(below.get(name, ())):
            if ring := visit(other):
                return ring
        path.pop()
        done.add(name)
        return []

    for name in sorted(below):
        if ring := visit(name):
            return ring
    return []


def test_the_table_has_no_way_back():
    seen = set()
    for room, below in ARROWS.items():
        assert seen.issuperset(below), room
        seen.add(room)


def test_every_folder_is_known():
    folders = {path.name for path in KERNELS.iterdir() if path.is_dir()}
    assert folders == ARROWS.keys() | OTHER_FOLDERS


@pytest.mark.parametrize("room", ARROWS)
def test_every_room_says_what_it_is(room):
    text = (KERNELS / room / "README.md").read_text()
    assert text.startswith(f"# {room}\n")
    assert "May include: " in text


def test_no_arrow_goes_up():
    assert faults(sources(KERNELS)) == []


def test_no_files_include_each_other_in_a_ring():
    assert cycle(sources(KERNELS)) == []


def test_every_source_is_built():
    """No file of a room was forgotten in the build."""
    build = [KERNELS / "CMakeLists.txt", *KERNELS.glob("cmake/*.cmake")]
    text = "\n".join(path.read_text() for path in build)
    forgotten = [
        name
        for name in sources(KERNELS)
        if name.endswith(".cc") and not re.search(rf"[\s/]{name}[\s)]", text)
    ]
    assert forgotten == []


@pytest.mark.parametrize(
    ("name", "included", "fault"),
    [
        ("base/cpu.cc", "blocks/kernels.inc", "base must not include blocks"),
        ("graph/chain_node.h", "add/add.h", "graph must not include add"),
        ("read/node_reader.cc", "softmax/softmax.h", "read must not include softmax"),
        ("rows/row_layer.cc", "matmul/matmul_pack.h", "rows must not include matmul"),
        ("plan/plan.cc", "plan.h", "is no path"),
        ("attic/old.cc", "base/isa.h", "lies in no room"),
        ("old.cc", "base/isa.h", "lies in no room"),
    ],
)
def test_a_wrong_include_is_found(name, included, fault):
    files = sources(KERNELS)
    files[name] = files.get(name, "") + f'\n#include "{included}"\n'
    (found,) = faults(files)
    assert found.startswith(name)
    assert fault in found


def test_a_ring_is_found():
    files = sources(KERNELS)
    files["graph/layer.h"] += '\n#include "graph/chain_node.h"\n'
    assert set(cycle(files)) == {"graph/layer", "graph/chain_node"}
    files = sources(KERNELS)
    files["plan/cost_model.cc"] += '\n#include "plan/kernel_choice.h"\n'
    assert set(cycle(files)) == {"plan/cost_model", "plan/kernel_choice"}
