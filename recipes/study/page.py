"""The rows of the study of baselines as a page of the docs."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qsparse.analysis.threshold import half_interval
from qsparse.recipes.study.methods import DENSE, METHODS, PATTERNS
from qsparse.recipes.study.rows import Row

# What a method, pattern and format is called together.
Key = tuple[str, str, str]
_PLAIN: Key = (DENSE, DENSE, "float")


@dataclass(frozen=True)
class Relation:
    """What is known, or aimed at: one is no worse than another.

    Attributes:
        claim: in words.
        better: which should be no worse.
        worse: than which.
        margin: points that it may be behind.
    """

    claim: str
    better: Key
    worse: Key
    margin: float = 0.0


def _at(pattern: str, better: str, worse: str, claim: str) -> Relation:
    return Relation(claim, (better, pattern, "float"), (worse, pattern, "float"))


COMPARED = (
    _at("2:4", "sr-ste", "ste", "SR-STE is no worse than STE"),
    _at("2:4", "sr-ste-decoupled", "ste", "SR-STE, decoupled, is no worse than STE"),
    _at("90%", "rigl", "set", "RigL is no worse than SET"),
    _at("90%", "set", "random-erk", "SET is no worse than a random mask that stays"),
    _at("90%", "random-erk", "random", "ERK is better than uniform, random masks"),
    _at("90%", "magnitude-erk", "magnitude", "ERK is better than uniform, magnitude"),
    _at("2:4", "one-shot-obs", "one-shot-magnitude", "OBC is better than one-shot |w|"),
    _at("80%", "one-shot-obs", "one-shot-magnitude", "OBC is better than one-shot |w|"),
    _at("4x4@75%", "distilled", "sr-ste", "distillation is no worse than none"),
    _at("90%", "distilled", "sr-ste", "distillation is no worse than none"),
    *(
        Relation(
            "masked is better than SR-STE",
            ("magnitude", pattern, "int8"),
            ("sr-ste", pattern, "int8"),
        )
        for pattern in ("4:16", "4x4@75%", "4x4@90%", "80%")
    ),
    Relation("2:4 in int8 is within 0.3 points", ("ste", "2:4", "int8"), _PLAIN, 0.3),
    Relation(
        "75% of 4x4 blocks in int8 is within 0.7 points",
        ("magnitude", "4x4@75%", "int8"),
        _PLAIN,
        0.7,
    ),
    Relation("dense int8 is no worse than float", (DENSE, DENSE, "int8"), _PLAIN),
)

_INTRODUCTION = """# Baselines

How accurate a network is with each method, at each pattern, with and without int8, for
the same number of training steps as the dense network had. `qsparse study baselines`
makes it, a row a run.

- **Data**: the 8,000 training and 2,000 test images of Fashion-MNIST that travel with
  qsparse. A test image is 0.05 points; what two methods differ by is measured on the
  same images and the same first weights.
- **Networks**: `resnet`, that of the demo at a third of the width (74,000 weights), for
  3 and 5 epochs; `vit`, a ViT of 231,000 weights and 17 tokens, for 6 and 6. AdamW, and
  a learning rate that falls along a cosine in each of the two parts. They are small, as
  there are many runs: a network with room to spare loses less.
- **Where methods start**: after the dense first part. `random`, `random-erk`, `set` and
  `rigl` are sparse from the first step of the first part on, and `one-shot-...` come
  after both, without training. `obs-then-training` prunes after the first part and
  trains in the second. Every layer that the pattern fits on is pruned, the first and
  the last too. `tfmot` is TFMOT's pruning and then its quantization that keeps zeros,
  in `tf_keras`, for the same steps; `make peers` makes those rows.
- **Figures**: percent of the test images, mean over seeds, and how far apart the best
  and the worst seed are. Those of int8 are of the exported file, run by LiteRT. What
  has no figure has not been run yet.
"""
_READING = """Differences are those of runs with the same seed, in points; the interval
is that of 95%, by Student's t. With so few seeds it is wide: where 0 lies in it, this
study cannot tell.
"""


def page(rows: Iterable[Row]) -> str:
    """Returns the page, in Markdown.

    Args:
        rows: as `qsparse study baselines` writes them, in any order.

    Raises:
        ValueError: if none of them is of a run that was finished.
    """
    found = [row for row in rows if "accuracy" in row]
    if not found:
        raise ValueError("There is no page to write yet: no run has been finished.")
    parts = [_INTRODUCTION, _made(found)]
    for network in sorted({row["name"].split("/")[0] for row in found}):
        runs = _by_key(network, found)
        parts += [f"## {network}\n", _relations(runs), _READING]
        for format_ in ("float", "int8"):
            parts += [f"### {network}, {format_}\n", _accuracies(runs, format_)]
    return "\n".join(parts)


def _by_key(network: str, rows: list[Row]) -> dict[Key, dict[int, float]]:
    """Returns the accuracies of a network, in percent: key -> seed -> accuracy."""
    found: dict[Key, dict[int, float]] = {}
    for row in rows:
        of, method, pattern, format_, seed = row["name"].split("/")
        if of == network:
            runs = found.setdefault((method, pattern, format_), {})
            runs[int(seed)] = 100 * row["accuracy"]
    return found


def _made(rows: list[Row]) -> str:
    def all_of(key: str) -> str:
        return ", ".join(sorted({str(row[key]) for row in rows}))

    return (
        f"{len(rows)} runs, {all_of('date')}; commits {all_of('commit')}; Keras "
        f"{all_of('keras')}; {all_of('cpu')}. Made by `qsparse study baselines`; do "
        "not edit by hand.\n"
    )


def _relations(runs: dict[Key, dict[int, float]]) -> str:
    lines = []
    for relation in COMPARED:
        better, worse = runs.get(relation.better, {}), runs.get(relation.worse, {})
        seeds = sorted(better.keys() & worse.keys())
        if seeds:
            gains = [better[seed] - worse[seed] for seed in seeds]
            lines.append(_compared(relation, gains))
    columns = ("known, or aimed at", "at", "difference", "interval", "seeds", "here")
    return _table(columns, lines)


def _compared(relation: Relation, gains: list[float]) -> list[str]:
    mean = statistics.mean(gains)
    half = half_interval(gains)
    low, high = mean - half, mean + half
    interval = "-" if len(gains) < 2 else f"{low:+.2f} to {high:+.2f}"
    if low > -relation.margin:
        verdict = "holds"
    elif high < -relation.margin:
        verdict = "does not hold"
    else:
        verdict = f"not told apart, the mean {_side(mean, relation)}"
    pattern, format_ = relation.better[1:]
    where = pattern if format_ == "float" else f"{pattern}, int8"
    return [
        relation.claim,
        where,
        f"{mean:+.2f}",
        interval,
        str(len(gains)),
        verdict,
    ]


def _side(mean: float, relation: Relation) -> str:
    return "agrees" if mean >= -relation.margin else "disagrees"


def _accuracies(runs: dict[Key, dict[int, float]], format_: str) -> str:
    lines = []
    others = sorted({method for method, _, _ in runs} - set(METHODS))
    for method in (*METHODS, *others):
        patterns = [DENSE] if method == DENSE else list(PATTERNS)
        cells = [
            _cell(runs.get((method, pattern, format_), {})) for pattern in patterns
        ]
        if any(cell != "-" for cell in cells):
            lines.append([f"`{method}`", *cells * (len(PATTERNS) // len(cells))])
    return _table(("method", *PATTERNS), lines)


def _cell(seeds: dict[int, float]) -> str:
    if not seeds:
        return "-"
    values = list(seeds.values())
    mean = f"{statistics.mean(values):.2f}"
    if len(values) == 1:
        return f"{mean} (1 seed)"
    return f"{mean} ± {(max(values) - min(values)) / 2:.2f}"


def _table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [columns, ["---"] * len(columns), *lines]
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
