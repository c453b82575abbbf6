"""`make layers-table`: every layer of `keras.layers`, compressed, exported and run."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.layer_nets import NETS, case_of, public_layers
from benchmarks.layers_page import layers_page
from benchmarks.program import Table


def main(arguments: list[str] | None = None) -> int:
    """Runs the program; see `Table.main`.

    Returns:
        0; 1 if Keras has a layer that is unknown here, if a row is a fault, or if
        rows are still missing.
    """
    names = list(public_layers())
    unknown = sorted(set(names) - set(NETS))
    if unknown:
        print(f"benchmarks/layer_nets.py has no net for {unknown}.", file=sys.stderr)
        return 1
    table = Table(
        module="benchmarks.layers_table",
        about=__doc__ or "",
        names=names,
        case_of=case_of,
        to_page=layers_page,
        rows="bench/layers.jsonl",
        page="docs/layers.md",
        per_process=60,
        seconds=300.0,
    )
    return table.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
