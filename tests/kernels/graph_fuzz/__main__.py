"""Random graphs and changed exports, on plain LiteRT and with the delegate.

No file may crash, fail or differ with the delegate that does not without. A seed makes
the same files again; `--first` goes on where a run stopped.
"""

import argparse
import pathlib
import sys
import time

import numpy as np

from ..runner import LIBRARY
from .compare import Comparison
from .graphs import random_graph
from .mutants import mutant

EXPORTS = pathlib.Path(__file__).parent / "exports"
SETTINGS = {"eager": ({"min_gain": "0"}, 1), "default": ({}, 2)}
_BATCH = 50


def seed_of(run, kind, index):
    """Of a file: other runs and kinds share no files."""
    sequence = np.random.SeedSequence([run, kind, index])
    return int(sequence.generate_state(1)[0])


def graph(run, index):
    """The file and its seed."""
    seed = seed_of(run, 0, index)
    return random_graph(seed), seed


def changed_export(run, index):
    """One of the exports, or now and then a random graph, changed."""
    seed = seed_of(run, 1, index)
    exports = sorted(EXPORTS.glob("*.tflite"))
    which = seed % (len(exports) + 1)
    content = (
        exports[which].read_bytes() if which < len(exports) else graph(run, index)[0]
    )
    return mutant(content, seed), seed


def fuzz(comparison, make, run, indices, output=None):
    """Checks the files `make(run, index)`; faults are printed, their files kept.

    Args:
        comparison: a `Comparison`.
        make: `graph` or `changed_export`.
        run: seed of the run.
        indices: which files.
        output: folder for files with a fault.

    Returns:
        The faults as lines of text.
    """
    found = []
    for start in range(0, len(indices), _BATCH):
        chunk = indices[start : start + _BATCH]
        files = [make(run, index) for index in chunk]
        for (at, setting), fault in comparison.check(files).items():
            name = f"{make.__name__}-{run}-{chunk[at]}"
            found.append(f"{name} {setting} seed {files[at][1]}: {fault[:300]}")
            print(found[-1], flush=True)
            if output is not None:
                output.mkdir(parents=True, exist_ok=True)
                (output / f"{name}.tflite").write_bytes(files[at][0])
        if output is not None and (start // _BATCH) % 10 == 9:
            print(f"{make.__name__} {chunk[-1] + 1}: {comparison.counts}", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", default=LIBRARY, help="the delegate")
    parser.add_argument("--graphs", type=int, default=10000)
    parser.add_argument("--mutants", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--output", type=pathlib.Path, default="build/graph_fuzz")
    options = parser.parse_args()
    found = []
    for make, count in ((graph, options.graphs), (changed_export, options.mutants)):
        comparison = Comparison(options.library, SETTINGS)
        start = time.monotonic()
        indices = range(options.first, count)
        found += fuzz(comparison, make, options.seed, indices, options.output)
        comparison.close()
        seconds = time.monotonic() - start
        print(f"{make.__name__}: {comparison.counts}, {seconds:.0f} s", flush=True)
    print(f"{len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
