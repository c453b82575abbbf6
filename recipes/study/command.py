"""What the commands of all studies share: what is missing, and how far they are."""

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

import keras

import qsparse
from qsparse.recipes.study.rows import Row, Rows, run_in_workers, work
from qsparse.recipes.study.tasks import TASKS
from qsparse.recipes.study.training import Setting
from qsparse.tflite_export.runtime.cpu import cpu_name

# A process that has made so many models gives its memory back.
_PER_PROCESS = 20
_LONGEST = 3600.0


def named(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Returns the names that a shell pattern matches."""
    return [n for n in names if any(fnmatch(n, pattern) for pattern in patterns)]


def missing(names: Sequence[str], kept: Rows) -> list[str]:
    """Returns the names that have no row, or one of a run that failed."""
    done = kept.read()
    return [name for name in names if "outcome" in done.get(name, {"outcome": ""})]


def make_rows(
    module: str, names: Sequence[str], kept: Rows, options: Sequence[str]
) -> int:
    """Makes the rows that are missing, in worker processes; says on stderr how far.

    Args:
        module: as of `run_in_workers`.
        names: of all rows that are wanted, in order.
        kept: where they go.
        options: for the module.

    Returns:
        How many runs failed.
    """
    wanted = missing(names, kept)
    progress = _Progress(len(names), len(wanted))
    run_in_workers(
        module,
        wanted,
        kept,
        per_process=_PER_PROCESS,
        seconds=_LONGEST,
        options=options,
        show=progress.show,
    )
    failed = len(missing(wanted, kept))
    if failed:
        log = kept.path.with_suffix(".log")
        print(f"{failed} runs failed; {log} says why.", file=sys.stderr)
    return failed


def carry_on(
    module: str,
    kept: Rows,
    names: Sequence[str],
    *,
    folder: Path,
    listed: bool,
    quick: bool,
) -> int | None:
    """Makes the rows that are missing, or lists them.

    Args:
        module: as of `run_in_workers`; it calls `run_worker`.
        kept: where rows go.
        names: of all rows that are wanted, in order; they begin with a network.
        folder: keeps weights that runs start from.
        listed: name the missing runs, and make none.
        quick: shows that it runs, and nothing else.

    Returns:
        How many runs failed; None where they were listed.

    Raises:
        ImportError: if a network needs a package that is not there.
    """
    left = missing(names, kept)
    if listed:
        print("\n".join(left))
        return None
    for network in {name.split("/")[0] for name in left}:
        TASKS[network].build()  # says what is not installed before a process starts
    options = [str(folder), *(["--quick"] if quick else [])]
    return make_rows(module, names, kept, options)


def run_worker(row_of: Callable[[str, Setting, str], Row]) -> int:
    """Makes the rows of one worker, by the arguments of its process.

    Args:
        row_of: makes a row, of its name, a setting and the commit that it is made with.
    """
    parser = argparse.ArgumentParser(description="A worker of `qsparse study`.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--worker", nargs="+", required=True)
    options = parser.parse_args()
    setting = Setting(options.folder)
    if options.quick:
        setting = replace(setting, share=0.05, epochs=1)
    path, *names = options.worker
    commit = commit_of_this()  # of what was imported, whatever becomes of it meanwhile
    work(Rows(Path(path)), names, lambda name: row_of(name, setting, commit))
    return 0


def rows_file(
    study: str, folder: Path, rows: Path | None, quick: bool
) -> tuple[Rows, Path]:
    """Returns where the rows of a study go, and the folder of its weights.

    Args:
        study: its name.
        folder: what a user gave.
        rows: another file for rows, or None.
        quick: whether all of it is for show.

    Raises:
        ValueError: if quick rows would lie among others.
    """
    if quick:
        if rows is not None:
            raise ValueError("--quick makes rows of its own. Leave out --rows.")
        folder = folder / "quick"
    return Rows(rows or folder / f"{study}.jsonl"), folder


def provenance(commit: str, start: float) -> Row:
    """Returns what a row says of how it was made.

    Args:
        commit: of `commit_of_this`, read when the worker began.
        start: when the run began, by `time.perf_counter`.
    """
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit,
        "cpu": cpu_name(),
        "keras": f"{keras.__version__} on {keras.backend.backend()}",
        "python": platform.python_version(),
    }


def commit_of_this() -> str:
    """Returns what this is: the commit, or the version where there is none."""
    try:
        root, commit, changes = (
            subprocess.run(
                ["git", *arguments],
                cwd=Path(__file__).parent,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for arguments in (
                ("rev-parse", "--show-toplevel"),
                ("rev-parse", "--short", "HEAD"),
                ("status", "--porcelain", "--", ":/*.py", ":/*.cc", ":/*.h"),
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return f"qsparse {qsparse.__version__}"
    if Path(root) != Path(__file__).resolve().parents[2]:
        return f"qsparse {qsparse.__version__}"  # installed inside of another project
    return f"{commit}, changed" if changes else commit


class _Progress:
    """What stderr says of each row.

    Args:
        runs: how many there are.
        missing: how many are to be made.
    """

    def __init__(self, runs: int, missing: int) -> None:
        self._runs, self._missing = runs, missing
        self._made = 0
        self._start = time.perf_counter()

    def show(self, row: Row) -> str:
        """Returns the line."""
        self._made += 1
        each = (time.perf_counter() - self._start) / self._made
        left = each * (self._missing - self._made) / 3600
        done = self._runs - self._missing + self._made
        outcome = row.get("note") or f"{row['accuracy']:.2%}"
        return f"{done}/{self._runs} {row['name']}: {outcome}; {left:.1f} h to go"
