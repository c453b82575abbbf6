"""`make zoo-table`: whole models of every family, compressed, exported and run."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.program import Table
from benchmarks.zoo_models import case_of, names, unknown_families
from benchmarks.zoo_page import zoo_page


def main(arguments: list[str] | None = None) -> int:
    """Runs the program; see `Table.main`.

    Returns:
        0; 1 if there is a family that is unknown here, if a row is a fault, or if
        rows are still missing.
    """
    if unknown := unknown_families():
        print(f"benchmarks/zoo_configs.py has no model of {unknown}.", file=sys.stderr)
        return 1
    table = Table(
        module="benchmarks.zoo_table",
        about=__doc__ or "",
        names=names(),
        case_of=case_of,
        to_page=zoo_page,
        rows="bench/zoo.jsonl",
        page="docs/zoo.md",
        per_process=20,
        seconds=900.0,
    )
    return table.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
