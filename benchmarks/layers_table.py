"""`make layers-table`: every layer of `keras.layers`, compressed, exported and run."""

import argparse
import os
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.layer_nets import NETS, case_of, public_layers
from benchmarks.markdown import layers_page
from benchmarks.rows import Row, Rows, run_in_workers, work
from benchmarks.trial import Trial, attempt
from benchmarks.verdict import verdict

_PER_PROCESS = 40
_SECONDS = 300.0


def row_of(name: str) -> Row:
    """Tries one layer and returns what became of it, ready for JSON."""
    layer = ""

    def build():
        nonlocal layer
        case = case_of(name)
        layer = case.layer
        return case

    trial: Trial = attempt(build)
    return verdict(trial, layer)


def _named(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def main(arguments: list[str] | None = None) -> int:
    """Makes the rows that are missing and writes the page.

    Args:
        arguments: command line without the program; None takes `sys.argv`.

    Returns:
        0; 1 if a layer is unknown here, or a row is a fault.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="bench/layers.jsonl", type=Path)
    parser.add_argument("--page", default="docs/layers.md", type=Path)
    parser.add_argument("--again", nargs="+", default=(), help="layers to do anew")
    parser.add_argument("--only", nargs="+", default=["*"], help="of all layers")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        path, *names = options.worker
        work(Rows(Path(path)), names, row_of)
        return 0
    names = list(public_layers())
    unknown = sorted(set(names) - set(NETS))
    if unknown:
        print(f"benchmarks/layer_nets.py has no net for {unknown}.", file=sys.stderr)
        return 1
    rows = Rows(options.rows)
    done = rows.read()
    missing = [
        name
        for name in names
        if (name not in done and _named(name, options.only))
        or _named(name, options.again)
    ]
    run_in_workers(
        "benchmarks.layers_table",
        missing,
        rows,
        per_process=_PER_PROCESS,
        seconds=_SECONDS,
    )
    done = rows.read()
    if left := [name for name in names if name not in done]:
        print(f"no page yet: {len(left)} layers to go", file=sys.stderr)
        return 1
    options.page.write_text(layers_page([done[name] for name in names]))
    return 1 if any(done[name]["outcome"] == "fault" for name in names) else 0


if __name__ == "__main__":
    sys.exit(main())
