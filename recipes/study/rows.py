"""Rows of a long run, one line of JSON each, so that a run can be stopped and resumed.

The work happens in worker processes, which append a row as soon as it is done. A
worker that dies, or takes too long over one name, costs that name a row that says so;
another worker goes on with the rest.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
_POLL = 0.5


class Rows:
    """The rows of one table.

    Args:
        path: the file, one JSON object a line; of two rows with one name the later
            one counts. It need not exist. A last line that a kill cut short is no row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Row]:
        """Returns name -> row."""
        if not self.path.exists():
            return {}
        *lines, _ = self.path.read_text(encoding="utf-8").split("\n")
        return {row["name"]: row for row in map(json.loads, lines)}

    def append(self, row: Row) -> None:
        """Adds a row, which has a "name"; several processes may write."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            end = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            whole = stream.read().rfind(b"\n") + 1
            if whole < end:
                stream.truncate(whole)
            stream.write(json.dumps(row).encode() + b"\n")


def run_in_workers(
    module: str,
    names: list[str],
    rows: Rows,
    *,
    per_process: int,
    seconds: float,
    options: Sequence[str] = (),
    show: Callable[[Row], str] = lambda row: row["name"],
) -> None:
    """Makes a row for every name.

    Args:
        module: run as `python -m module OPTIONS --worker ROWS NAME...`; it calls
            `work`.
        names: what to do, in order.
        rows: where the rows go.
        per_process: most names one process is given; memory it lost goes with it.
        seconds: longest time from one row to the next.
        options: for the module.
        show: what stderr says of a row that was made.
    """
    left = list(names)
    while left:
        batch, shown = left[:per_process], 0
        log = rows.path.with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        begin = rows.path.stat().st_size if rows.path.exists() else 0
        with log.open("ab") as stream:
            worker = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    module,
                    *options,
                    "--worker",
                    str(rows.path),
                    *batch,
                ],
                stdout=stream,
                stderr=stream,
            )
            last = time.monotonic()
            while worker.poll() is None:
                time.sleep(_POLL)
                made = _made(rows.path, begin, batch)
                for row in made[shown:]:
                    last = time.monotonic()
                    print(show(row), file=sys.stderr, flush=True)
                shown = len(made)
                if time.monotonic() - last > seconds:
                    worker.kill()
                    worker.wait()
        made = _made(rows.path, begin, batch)
        for row in made[shown:]:
            print(show(row), file=sys.stderr, flush=True)
        done = {row["name"] for row in made}
        left = [name for name in left if name not in done]
        if len(done) < len(batch):
            code = worker.returncode
            why = f"the process ended with code {code}, or took over {seconds:.0f} s"
            row = {"name": left.pop(0), "outcome": "fault", "note": why}
            rows.append(row)
            print(show(row), file=sys.stderr, flush=True)


def work(rows: Rows, names: list[str], do: Callable[[str], Row]) -> None:
    """Makes the rows of one worker; stops where its parent is gone."""
    parent = os.getppid()
    for name in names:
        if os.getppid() != parent:
            return
        rows.append({"name": name} | do(name))


def _made(path: Path, begin: int, names: Sequence[str]) -> list[Row]:
    """Returns the rows of these names that were written since; others write, too."""
    if not path.exists():
        return []
    with path.open("rb") as stream:
        stream.seek(begin)
        *lines, _ = stream.read().split(b"\n")
    return [row for row in map(json.loads, lines) if row["name"] in names]
