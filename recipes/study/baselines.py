"""`qsparse study baselines`: every method at every pattern, with and without int8.

Each run is a row in a file, and belongs to a network, a method, a pattern, a format and
a seed. A run that was stopped costs nothing but itself: call again, and the rows that
are missing are made, first those that the page compares.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# TensorFlow reads this when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import qsparse
from qsparse.recipes.study.command import (
    carry_on,
    named,
    provenance,
    rows_file,
    run_worker,
)
from qsparse.recipes.study.methods import DENSE, METHODS, PATTERNS
from qsparse.recipes.study.page import COMPARED, page
from qsparse.recipes.study.rows import Row
from qsparse.recipes.study.tasks import TASKS
from qsparse.recipes.study.training import Setting, Trainer

_NETWORKS = ("resnet", "vit")
_FORMATS = ("float", "int8")


@dataclass(frozen=True)
class Run:
    """One training; its name is that of its row.

    Attributes:
        network: in `TASKS`.
        method: in `METHODS`.
        pattern: in `PATTERNS`, or "dense".
        format: "float" or "int8".
        seed: not negative.
    """

    network: str
    method: str
    pattern: str
    format: str
    seed: int

    @property
    def name(self) -> str:
        """As "resnet/sr-ste/2:4/int8/0"."""
        return "/".join(
            (self.network, self.method, self.pattern, self.format, str(self.seed))
        )

    @classmethod
    def named(cls, name: str) -> "Run":
        """Returns the run of a name."""
        network, method, pattern, format_, seed = name.split("/")
        return cls(network, method, pattern, format_, int(seed))

    def recipe(self) -> qsparse.Recipe | None:
        """Returns what is done to the network; None where that is nothing."""
        settings = dict(METHODS[self.method].settings)
        if self.method == DENSE:
            if self.format == "float":
                return None
            return qsparse.Recipe(pattern=None)
        pattern, sparsity = PATTERNS[self.pattern]
        settings |= {"pattern": pattern, "sparsity": sparsity}
        return qsparse.Recipe(quantize=self.format == "int8", **settings)


def all_runs(networks: Sequence[str], seeds: int) -> list[Run]:
    """Returns every run, in the order they are made in.

    Args:
        networks: names in `TASKS`.
        seeds: how many.
    """
    runs = [
        Run(network, method, pattern, format_, seed)
        for seed in range(seeds)
        for network in networks
        for method, pattern in _pairs()
        for format_ in _FORMATS
    ]
    return sorted(runs, key=_rank)


def _pairs() -> Iterator[tuple[str, str]]:
    for name, method in METHODS.items():
        if name == DENSE:
            yield name, DENSE
            continue
        for pattern, (text, _) in PATTERNS.items():
            if not (method.shares_out and ":" in text):
                yield name, pattern


def _rank(run: Run) -> int:
    compared = [run for each in COMPARED for run in (each.better, each.worse)]
    return 0 if (run.method, run.pattern, run.format) in compared else 1


def carry_out(run: Run, setting: Setting, commit: str) -> Row:
    """Trains, and returns the row.

    Args:
        run: what.
        setting: how long, and where.
        commit: what the row says that it was made with.
    """
    start = time.perf_counter()
    keras.backend.clear_session()
    trainer = Trainer(run.network, TASKS[run.network], run.seed, setting)
    found = trainer.run(METHODS[run.method], run.recipe())
    return {
        "name": run.name,
        **found,
        "share": setting.share,
        "epochs": setting.epochs,
        **provenance(commit, start),
    }


def study(
    folder: Path,
    *,
    rows: Path | None = None,
    only: Sequence[str] = ("*",),
    seeds: int = 3,
    page_path: Path | None = None,
    listed: bool = False,
    quick: bool = False,
) -> int:
    """Makes the rows that are missing, and the page.

    Args:
        folder: keeps the dense weights that runs start from, and the rows.
        rows: the file of rows, if it is another than `baselines.jsonl` in `folder`.
        only: shell patterns of names of runs; those that match one are made.
        seeds: of each setting.
        page_path: where to write what the rows say, in Markdown.
        listed: name the missing runs, and make none.
        quick: shows that it runs, and nothing else.

    Returns:
        0; 1 if a run failed.

    Raises:
        ValueError: if no run has such a name, `seeds` is not positive, or quick rows
            would lie among others.
        ImportError: if a network needs a package that is not there.
    """
    if seeds < 1:
        raise ValueError(f"--seeds must be 1 or more, got {seeds}.")
    kept, folder = rows_file("baselines", folder, rows, quick)
    names = named([run.name for run in all_runs(_NETWORKS, seeds)], only)
    if not names:
        raise ValueError(
            f"no run is named {' or '.join(only)}. There are "
            f"{', '.join(_NETWORKS)} / {', '.join(METHODS)} / {', '.join(PATTERNS)} / "
            f"{', '.join(_FORMATS)} / 0 to {seeds - 1}."
        )
    failed = carry_on(__name__, kept, names, folder=folder, listed=listed, quick=quick)
    if failed is None:
        return 0
    if page_path is not None:
        page_path.write_text(page(kept.read().values()), encoding="utf-8")
    return 1 if failed else 0


def _row_of(name: str, setting: Setting, commit: str) -> Row:
    return carry_out(Run.named(name), setting, commit)


if __name__ == "__main__":
    sys.exit(run_worker(_row_of))
