"""The command line that the tables share."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.trial import Case, attempt
from benchmarks.verdict import FAULT, verdict
from qsparse.recipes.study.rows import Row, Rows, run_in_workers, work


@dataclass(frozen=True)
class Table:
    """What a table is made of.

    Attributes:
        module: name under which `python -m` finds the program.
        about: one line for `--help`.
        names: what there is to try, in the order of the page.
        case_of: builds the model of a name.
        to_page: rows in the order of `names` -> Markdown.
        rows: where the rows go by default.
        page: where the page goes by default.
        per_process: most models one worker is given.
        seconds: longest time for one model.
    """

    module: str
    about: str
    names: Sequence[str]
    case_of: Callable[[str], Case]
    to_page: Callable[[list[Row]], str]
    rows: str
    page: str
    per_process: int
    seconds: float

    def row_of(self, name: str) -> Row:
        """Tries one model and returns what became of it, ready for JSON."""
        built: list[Case] = []

        def build() -> Case:
            built.append(self.case_of(name))
            return built[0]

        trial = attempt(build)
        return verdict(trial, built[0].layer if built else "")

    def main(self, arguments: list[str] | None = None) -> int:
        """Makes the rows that are missing and writes the page.

        Args:
            arguments: command line without the program; None takes `sys.argv`.

        Returns:
            0; 1 if a row is a fault, or rows are still missing.
        """
        options = self._parser().parse_args(arguments)
        if options.worker:
            path, *names = options.worker
            work(Rows(Path(path)), names, self.row_of)
            return 0
        rows = Rows(options.rows)
        done = rows.read()
        missing = [
            name
            for name in self.names
            if (name not in done and _named(name, options.only))
            or _named(name, options.again)
        ]
        run_in_workers(
            self.module,
            missing,
            rows,
            per_process=self.per_process,
            seconds=self.seconds,
        )
        done = rows.read()
        if left := [name for name in self.names if name not in done]:
            print(f"no page yet: {len(left)} rows to go", file=sys.stderr)
            return 1
        found = [done[name] for name in self.names]
        options.page.write_text(self.to_page(found), encoding="utf-8")
        faults = [row["name"] for row in found if row["outcome"] == FAULT]
        print(f"{len(found)} rows; faults: {faults or 'none'}", file=sys.stderr)
        return 1 if faults else 0

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(description=self.about)
        parser.add_argument("--rows", default=self.rows, type=Path)
        parser.add_argument("--page", default=self.page, type=Path)
        parser.add_argument("--only", nargs="+", default=["*"], help="names, as *1D")
        parser.add_argument("--again", nargs="+", default=(), help="rows to do anew")
        parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
        return parser


def _named(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)
