"""Arrows between rooms go one way, and every room says what it is."""

import ast

import pytest

from tests import rooms

CORE = ("qsparse/methods", "qsparse/keras_compat", "qsparse/planning")
ENGINE = (*CORE, "qsparse/engine")
BELOW = (*ENGINE, "qsparse/oneshot", "qsparse/analysis")
WHOLE = (*BELOW, "qsparse/measures", "qsparse")
# Every room, and those it may import; a row may only name rows before it.
ALLOWED = {
    "qsparse/methods": (),
    "qsparse/keras_compat": (),
    "qsparse/planning": ("qsparse/methods", "qsparse/keras_compat"),
    "qsparse/engine": CORE,
    "qsparse/oneshot": ENGINE,
    "qsparse/analysis": ("qsparse/methods",),
    "qsparse/measures": BELOW,
    "qsparse": (*BELOW, "qsparse/measures"),
    "callbacks": WHOLE,
    "tflite_export/files": ("qsparse/methods", "qsparse/planning"),
    "tflite_export/graph": ("tflite_export/files", *ENGINE),
    "tflite_export/passes": ("tflite_export/graph", "tflite_export/files"),
    "tflite_export/runtime": ("tflite_export/files",),
}
ALLOWED["tflite_export/parity"] = (
    *WHOLE,
    *(f"tflite_export/{room}" for room in ("files", "graph", "passes", "runtime")),
)
ALLOWED["tflite_export"] = (*ALLOWED["tflite_export/parity"], "tflite_export/parity")
ALLOWED["tflite_export/report"] = (*ALLOWED["tflite_export"], "tflite_export")
ALLOWED["recipes/weights"] = ()
ALLOWED["recipes"] = tuple(ALLOWED)
ALLOWED["recipes/study"] = tuple(ALLOWED)
ALLOWED["qsparse/cli.py"] = tuple(ALLOWED)
ALLOWED["benchmarks"] = (*tuple(ALLOWED)[:-1],)
# Runs where the project is not installed.
ALLOWED["benchmarks/peers"] = ()


def faults(arrows):
    """Return what is wrong with arrows, a sentence each."""
    found = []
    for (room, other), imports in arrows.items():
        if room not in ALLOWED or other not in ALLOWED:
            found.append(f"{room} or {other} is no known room")
        elif other not in ALLOWED[room]:
            found.append(f"{room} must not import {other}: {imports[0]}")
    return found


def test_the_table_has_no_way_back():
    seen = set()
    for room, below in ALLOWED.items():
        assert set(below) <= seen, (room, set(below) - seen)
        seen.add(room)


def test_no_arrow_goes_up():
    assert faults(rooms.python_arrows()) == []


def test_an_arrow_that_goes_up_is_found():
    up = {("qsparse/engine", "callbacks"): ["a imports b"]}
    assert faults(up) == ["qsparse/engine must not import callbacks: a imports b"]
    assert "no known room" in faults({("attic", "qsparse"): ["a imports b"]})[0]


def test_modules_do_not_import_each_other_in_a_ring():
    """What is imported inside a function is not meant: it comes later."""
    files = rooms.python_files()
    below = {}
    for module, path in files.items():
        tree = ast.parse(path.read_text())
        top = ast.Module([n for n in tree.body if not isinstance(n, ast.If)], [])
        kinds = ast.Import | ast.ImportFrom
        top.body = [node for node in top.body if isinstance(node, kinds)]
        below[module] = set(rooms.imported_by(top, files)) - {module}
    while below:
        free = {module for module, others in below.items() if not others}
        assert free, f"in a ring, or behind one: {sorted(below)}"
        below = {m: others - free for m, others in below.items() if m not in free}


@pytest.mark.parametrize("room", [room for room in ALLOWED if "." not in room])
def test_every_room_says_what_it_is(room):
    text = (rooms.ROOT / room / "README.md").read_text()
    assert text.startswith(f"# {room.rpartition('/')[2]}\n")
    assert "May import: " in text and len(text.splitlines()) <= 30


def test_every_folder_is_a_room():
    folders = {
        rooms.room_of_folder(path.parent.relative_to(rooms.ROOT).as_posix())
        for path in rooms.python_files().values()
    }
    assert folders == {room for room in ALLOWED if "." not in room}


def test_the_drawing_is_that_of_now():
    page = (rooms.ROOT / "CONTRIBUTING.md").read_text()
    assert rooms.drawn(page) == page, "python -m tests.rooms draws it anew"
    assert "flowchart" in page
