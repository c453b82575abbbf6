"""`qsparse study interplay`: what order, format and pattern cost together.

Each run is a row in a file, and belongs to a network, a protocol, a pattern, a format,
an order and a seed. All runs of a seed begin with the same weights and see the same
images in the same order for as many steps. A run that was stopped costs nothing but
itself: call again, and the rows that are missing are made.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

# TensorFlow reads this when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import qsparse
from qsparse.measures.arms import PRUNED, PRUNED_FIRST, QUANTIZED
from qsparse.measures.stage import staged
from qsparse.recipes.study.command import (
    carry_on,
    named,
    provenance,
    rows_file,
    run_worker,
)
from qsparse.recipes.study.interplay_config import (
    AFTER,
    ALONE,
    DENSE,
    FLOAT,
    LOOK,
    NONE,
    TUNED,
    Config,
    recipe_of,
)
from qsparse.recipes.study.interplay_report import write_report
from qsparse.recipes.study.rows import Row
from qsparse.recipes.study.tasks import TASKS
from qsparse.recipes.study.training import Setting, Trainer

_BATCH = 64


@dataclass(frozen=True)
class Run:
    """One training, or what is measured without; its name is that of its row.

    Attributes:
        network: in `TASKS`.
        protocol: in `PROTOCOLS`; "dense" for the dense network, "analysis" for what is
            measured on training images before.
        pattern: of the config; "dense" if nothing is pruned.
        format: of the config; "float" if nothing is rounded.
        order: "S->Q" or "Q->S"; "-" where only one of both is done.
        seed: not negative.
    """

    network: str
    protocol: str
    pattern: str
    format: str
    order: str
    seed: int

    @property
    def name(self) -> str:
        """As "resnet/trained/2:4/int8/S->Q/0"."""
        return "/".join(map(str, astuple(self)))

    @classmethod
    def named(cls, name: str) -> "Run":
        """Returns the run of a name."""
        network, protocol, pattern, format, order, seed = name.split("/")
        return cls(network, protocol, pattern, format, order, int(seed))


def all_runs(config: Config) -> list[Run]:
    """Returns every run of a config, in the order they are made in."""
    return [
        Run(network, *rest, seed)
        for seed in range(config.seeds)
        for network in config.networks
        for rest in _settings(config, seed)
    ]


def _settings(config: Config, seed: int) -> Iterator[tuple[str, str, str, str]]:
    """Yields protocol, pattern, format and order, what costs least first."""
    alone = [ALONE[protocol] for protocol in config.protocols]
    for dense in dict.fromkeys([DENSE, *(dense for dense, _, _ in alone)]):
        yield dense, DENSE, FLOAT, NONE
    for rounded in dict.fromkeys(rounded for _, _, rounded in alone):
        yield from ((rounded, DENSE, format, NONE) for format in config.formats)
    for pruned in dict.fromkeys(pruned for _, pruned, _ in alone):
        yield from ((pruned, pattern, FLOAT, NONE) for pattern in config.patterns)
    if seed == 0:
        for pattern in config.patterns:
            yield from ((LOOK, pattern, format, NONE) for format in config.formats)
    for protocol in config.protocols:
        for pattern in config.patterns:
            for format in config.formats:
                orders = [PRUNED_FIRST] if protocol == TUNED else config.orders
                yield from ((protocol, pattern, format, order) for order in orders)


def carry_out(run: Run, setting: Setting, commit: str) -> Row:
    """Trains or measures, and returns the row.

    Args:
        run: what.
        setting: how long, and where.
        commit: what the row says that it was made with.
    """
    start = time.perf_counter()
    keras.backend.clear_session()
    trainer = Trainer(run.network, TASKS[run.network], run.seed, setting)
    return {
        "name": run.name,
        **_found(run, trainer),
        "share": setting.share,
        "epochs": setting.epochs,
        **provenance(commit, start),
    }


def _found(run: Run, trainer: Trainer) -> dict[str, Any]:
    if run.protocol == DENSE:
        return trainer.judged(trainer.dense())
    if run.protocol in (AFTER, TUNED):
        return _without_training(run, trainer)
    recipe = recipe_of(
        None if run.pattern == DENSE else run.pattern,
        None if run.format == FLOAT else run.format,
        run.order if run.order != NONE else PRUNED_FIRST,
    )
    if run.protocol == LOOK:
        model = trainer.dense()
        report = qsparse.analyse(model, recipe, trainer.seen)
        return {"analysis": report.to_dict()} | trainer.judged(model)
    if recipe.quantizes:
        return trainer.judged(trainer.compressed(recipe))
    return trainer.judged(trainer.sparse(recipe, run.pattern))


def _without_training(run: Run, trainer: Trainer) -> dict[str, float]:
    """Returns what a network is worth that is pruned or rounded, or both, or none."""
    # What is not asked for may be anything: the model is not brought there.
    pattern = "2:4" if run.pattern == DENSE else run.pattern
    format = "int8" if run.format == FLOAT else run.format
    if run.protocol == TUNED:
        model = trainer.sparse(recipe_of(pattern, None), pattern)
    else:
        model = trainer.dense()
    arm = run.order
    if arm == NONE:
        only_rounded = DENSE if run.format == FLOAT else QUANTIZED
        arm = only_rounded if run.pattern == DENSE else PRUNED
    samples, labels = trainer.seen
    batches = [
        keras.tree.map_structure(lambda a, at=at: a[at : at + _BATCH], samples)
        for at in range(0, len(labels), _BATCH)
    ]
    with staged(model, recipe_of(pattern, format), batches) as stage:
        stage.go(arm)
        return trainer.judged(model)


def study(
    config: Config,
    folder: Path,
    *,
    rows: Path | None = None,
    only: Sequence[str] = ("*",),
    report: Path | None = None,
    listed: bool = False,
    quick: bool = False,
) -> int:
    """Makes the rows that are missing, and the report.

    Args:
        config: what is compared.
        folder: keeps weights that runs start from, and the rows.
        rows: the file of rows, if it is another than `interplay.jsonl` in `folder`.
        only: shell patterns of names of runs; those that match one are made.
        report: a folder for the report of all rows, its figures and its tables.
        listed: name the missing runs, and make none.
        quick: shows that it runs, and nothing else.

    Returns:
        0; 1 if a run failed.

    Raises:
        ValueError: if no run has such a name, or quick rows would lie among others.
        ImportError: if a network or a figure needs a package that is not there.
    """
    kept, folder = rows_file("interplay", folder, rows, quick)
    every = [run.name for run in all_runs(config)]
    names = named(every, only)
    if not names:
        raise ValueError(
            f"no run is named {' or '.join(only)}. The first is {every[0]}, the last "
            f"{every[-1]}."
        )
    failed = carry_on(__name__, kept, names, folder=folder, listed=listed, quick=quick)
    if failed is None:
        return 0
    if report is not None:
        write_report(report, kept.read())
    return 1 if failed else 0


def _row_of(name: str, setting: Setting, commit: str) -> Row:
    return carry_out(Run.named(name), setting, commit)


if __name__ == "__main__":
    sys.exit(run_worker(_row_of))
