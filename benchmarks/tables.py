"""Tables of the kernels' benchmark for the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from benchmarks.targets import Mean

TABLE_WIDTH = 130  # what no column is cut at; narrower terminals wrap


def kernel_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Returns one line per row of `bench/kernels.json`.

    Args:
        rows: at least one.
    """
    table = Table(
        title="int8 kernels against XNNPACK dense and our own dense",
        caption=f"{rows[0]['machine']}, one pinned core, interleaved; ratios of the "
        "least times, and medians of the ratios within each round; share: nonzero "
        "products per second over the ISA's peak. XNNPACK always runs on the best "
        "ISA of the CPU; judge lower ISAs by our own dense.",
    )
    for name in ("op", "shape", "pattern", "zeros", "ISA", "kernel"):
        table.add_column(name, no_wrap=True)
    for name in ("XNNPACK", "median", "own\ndense", "median", "GMAC/s", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("exact")
    for row in rows:
        table.add_row(
            row["op"],
            row["shape"],
            row["pattern"],
            f"{row['sparsity']:.4g}",
            row["isa"],
            row["kernel"] if row["claimed"] else "XNNPACK",
            *(
                f"{row[column]:.2f}"
                for column in (
                    "ratio_xnnpack",
                    "ratio_xnnpack_median",
                    "ratio_own_dense",
                    "ratio_own_dense_median",
                )
            ),
            f"{row['nonzero_gmacs']:.0f}",
            "?" if row["peak_share"] is None else f"{row['peak_share']:.0%}",
            "yes" if row["bit_exact"] else "NO",
        )
    return table


def mean_table(means: Sequence[Mean]) -> Table:
    """Returns one line per geometric mean, beside its target."""
    table = Table(
        title="Geometric means",
        caption="limit: XNNPACK ratio if our kernels ran at the ISA's peak on the "
        "nonzero weights and did nothing else. A target speaks of the XNNPACK ratio; "
        "'(dense)': of the ratio to our own dense kernels.",
    )
    for name in ("group", "pattern", "zeros", "ISA"):
        table.add_column(name, no_wrap=True)
    for name in ("shapes", "XNNPACK", "own dense", "limit", "target"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("met")
    for mean in means:
        target = "" if mean.target is None else f"{mean.target:g}"
        if mean.column == "ratio_own_dense":
            target += " (dense)"
        table.add_row(
            mean.group,
            mean.pattern,
            f"{mean.sparsity:.4g}",
            mean.isa,
            str(mean.shapes),
            f"{mean.ratio_xnnpack:.2f}",
            f"{mean.ratio_own_dense:.2f}",
            "" if mean.limit is None else f"{mean.limit:.2f}",
            target,
            _verdict(mean),
        )
    return table


def _verdict(mean: Mean) -> str:
    if mean.met is None or mean.target is None:
        return ""
    if mean.met:
        return "yes"
    bound = mean.limit if mean.column == "ratio_xnnpack" else None
    return "NO: beyond the limit" if bound and bound < mean.target else "NO"


def model_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Returns one line per row of `bench/models.json`.

    Args:
        rows: at least one.
    """
    table = Table(
        title="Whole int8 networks, 4x4 blocks at 75%",
        caption=f"{rows[0]['machine']}; milliseconds, least of interleaved rounds. "
        "ours, rest: nodes our delegate takes, and all others, cut out of the file and "
        "measured alone, as shares of the whole; overhead: what they do not explain. "
        "2 threads: against XNNPACK on two, and against one of our own.",
    )
    table.add_column("network", no_wrap=True)
    for name in ("XNNPACK", "own\ndense", "own", "ratio", "median"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("layers\ntaken", "ours", "rest", "overhead"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("largest\nremaining", justify="right")
    for name in ("2 threads\nXNNPACK", "own 1\nthread"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("exact")
    for row in rows:
        parts, two = row["split"], row["two_threads"]
        largest, whole = parts["largest_remaining"], parts["whole_us"]
        size = (parts["rest_by_op"] | {"overhead": parts["overhead_us"]})[largest]
        table.add_row(
            row["network"],
            *(f"{row[k] / 1e3:.2f}" for k in ("xnnpack_us", "own_dense_us", "own_us")),
            f"{row['ratio_xnnpack']:.2f}",
            f"{row['ratio_xnnpack_median']:.2f}",
            f"{row['claimed']}/{row['layers']}",
            *(f"{parts[k] / whole:.0%}" for k in ("ours_us", "rest_us", "overhead_us")),
            f"{largest}\n{size / whole:.0%}",
            f"{two['ratio_xnnpack']:.2f}",
            f"{two['scaling']:.2f}",
            "yes" if row["bit_exact"] else "NO",
        )
    return table
