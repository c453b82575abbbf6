"""The rooms of the project and the arrows between them, read from imports and includes.

    python -m tests.rooms    # draws them anew in CONTRIBUTING.md

A room is a folder; what it imports is an arrow. Imports for types only are none, for
nothing is imported then.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Folder -> the name it is imported by.
PACKAGES = {
    "qsparse": "qsparse",
    "callbacks": "qsparse.callbacks",
    "recipes": "qsparse.recipes",
    "tflite_export": "qsparse.tflite_export",
    "benchmarks": "benchmarks",
}
# Files that are rooms by themselves: the command line imports all.
APART = ("qsparse/cli.py",)
# Rooms whose folders are shelves: a shelf is not a room, but a part of one.
SHELVED = ("qsparse/methods",)
KERNELS = ROOT / "tflite_export" / "kernels"
BEGIN, END = "<!-- rooms: begin -->", "<!-- rooms: end -->"


def python_files():
    """Return module name -> file, of everything but the tests."""
    found = {}
    for folder, package in PACKAGES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join([package, *parts]).removesuffix(".__init__")
            found[name] = path
    return found


def room_of(module, files):
    """Return the room of a module: its folder, as a path from the project's root."""
    path = files[module].relative_to(ROOT).as_posix()
    return path if path in APART else room_of_folder(path.rpartition("/")[0])


def room_of_folder(folder):
    """Return the room that a folder is, or is a shelf of."""
    return next((room for room in SHELVED if folder.startswith(room)), folder)


def imported_by(tree, files):
    """Yield the modules of the project that a parsed file imports, wherever in it."""
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        names = []
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in files else node.module for name in whole]
        elif (  # import_module("qsparse...") is an import too
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith("import_module")
            and isinstance(node.args[0], ast.Constant)
        ):
            names = [node.args[0].value]
        yield from (name for name in names if name in files)


def python_arrows():
    """Return (room, room) -> the imports between them, as sentences."""
    files = python_files()
    found = {}
    for module, path in files.items():
        room = room_of(module, files)
        for name in imported_by(ast.parse(path.read_text()), files):
            other = room_of(name, files)
            if other != room:
                found.setdefault((room, other), []).append(f"{module} imports {name}")
    return found


def kernel_arrows():
    """Return the (room, room) pairs of the kernels' includes."""
    found = set()
    for path in KERNELS.rglob("*"):
        if path.suffix in (".h", ".cc", ".inc"):
            room = path.relative_to(KERNELS).parts[0]
            for name in re.findall(r'^#include "(\w+)/', path.read_text(), re.M):
                if name != room and (KERNELS / name).is_dir():
                    found.add((room, name))
    return found


def direct(arrows):
    """Return the arrows that no way over other rooms stands for."""
    below = {}
    for a, b in arrows:
        below.setdefault(a, set()).add(b)

    def reaches(a, b, seen):
        return any(
            other == b or (other not in seen and reaches(other, b, seen | {other}))
            for other in below.get(a, ())
        )

    return {
        (a, b)
        for a, b in arrows
        if not any(
            other != b and (other == a or reaches(other, b, {a})) for other in below[a]
        )
    }


def mermaid(arrows):
    """Return a drawing of the arrows; what follows from others is left out."""
    rooms = sorted({room for arrow in arrows for room in arrow})
    numbers = {room: f"r{number}" for number, room in enumerate(rooms)}
    lines = ["```mermaid", "flowchart TD"]
    lines += [f'  {numbers[room]}["{room}"]' for room in rooms]
    lines += [f"  {numbers[a]} --> {numbers[b]}" for a, b in sorted(direct(arrows))]
    return "\n".join([*lines, "```"])


def drawing():
    """Return what stands between the marks in CONTRIBUTING.md."""
    return "\n\n".join(
        [
            BEGIN,
            "An arrow is an import; those that follow from others are left out.",
            mermaid(python_arrows()),
            "And in `tflite_export/kernels/`, by includes:",
            mermaid(kernel_arrows()),
            END,
        ]
    )


def drawn(text):
    """Return the text with the drawing of now between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{drawing()}{after}"


if __name__ == "__main__":
    page = ROOT / "CONTRIBUTING.md"
    page.write_text(drawn(page.read_text()))
    sys.exit(0)
