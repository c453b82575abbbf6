"""Forecast: which pattern, format and order would cost a model least."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import keras

from qsparse.measures.arms import DENSE, PRUNED_FIRST
from qsparse.measures.forecast_report import Choice, Forecast
from qsparse.measures.gauge import Gauge, Metric, gauge_of, samples_of
from qsparse.measures.interaction import check_plain
from qsparse.measures.stage import staged
from qsparse.methods.formats import FORMATS
from qsparse.methods.validate import whole
from qsparse.planning.recipe import ORDERS, Recipe


def forecast(
    model: keras.Model,
    data: Any,
    patterns: Sequence[Any] = ("2:4", "4:16", "4x4"),
    formats: Sequence[Any] = ("int8", "int4"),
    orders: Sequence[str] = (PRUNED_FIRST,),
    metric: str | Metric | None = None,
    *,
    recipe: Recipe | None = None,
    score_data: Any = None,
    batch_size: int = 64,
    batches: int = 8,
    verbose: int = 1,
) -> Forecast:
    """Ranks patterns, formats and orders by what they cost a model before training.

    Each is laid on the model as `qsparse.analyse` does, with statistics and ranges of
    the data, and the damage is measured. Training makes up for most of it, and for more
    of one than of another: docs/interplay.md says how well the order of this ranking
    agrees with the order after training.

    The model is given back as it was, bit for bit.

    Args:
        model: a built Keras model, trained, without a recipe.
        data: as of `qsparse.analyse`.
        patterns: patterns, or pairs of a pattern and a sparsity, as `("4x4", 0.9)`.
        formats: of weights, as of `qsparse.Recipe`.
        orders: "S->Q", "Q->S" or both.
        metric: as of `qsparse.sensitivity`.
        recipe: what else counts: criterion, allocation, rules, exclusions; None:
            `Recipe()`. What its rules set for some layers stays, whatever is ranked.
        score_data: what the recipe's criterion sees, as of `qsparse.attach`.
        batch_size: samples that the model sees at once.
        batches: how many batches of the data are used, from the first on.
        verbose: 0 is silent; 1 writes a line for each choice on stderr.

    Returns:
        The choices, the one that costs least first; `print` shows a table.

    Raises:
        ValueError: if there is nothing to rank, or no list of it; or as
            `qsparse.analyse` does.
        TypeError: if `data` is none of these forms.

    Example:
    ```python
    found = qsparse.forecast(model, (x[:500], y[:500]), ["2:4", ("4x4", 0.75)])
    print(found)
    callback = PruneThenQuantize(found.best.pattern, found.best.sparsity)
    ```
    """
    _check_lists(patterns=patterns, formats=formats, orders=orders)
    if not isinstance(recipe, Recipe | None):
        raise ValueError(
            f"`recipe` must be a qsparse.Recipe or None. Received: {recipe!r}"
        )
    recipes = list(_recipes(recipe or Recipe(), patterns, formats))
    unknown = sorted(set(orders) - set(ORDERS))
    if unknown or not orders or not recipes:
        raise ValueError(
            "forecast ranks at least one pattern, format and order, and orders are "
            f"{ORDERS}. Received: patterns={list(patterns)}, formats={list(formats)}, "
            f"orders={list(orders)}"
        )
    check_plain(model, "forecast")
    size, most = whole("batch_size", batch_size), whole("batches", batches)
    samples = samples_of(model, data, size, most)
    choices: list[Choice] = []
    gauge: Any = None
    dense = 0.0
    total = len(recipes) * len(orders)
    inputs = [x for x, _, _ in samples.batches]
    for each in recipes:
        with staged(model, each, inputs, score_data=score_data) as stage:
            if gauge is None:
                stage.go(DENSE)
                gauge = gauge_of(model, samples, metric)
                dense = gauge.measured("the dense model")
            for order in orders:
                stage.go(order)
                choices.append(_choice(each, order, gauge, dense))
                if verbose:
                    _show(choices[-1], len(choices), total)
    return Forecast(
        metric=gauge.name,
        less_is_better=gauge.less_is_better,
        samples=samples.total,
        dense=dense,
        choices=tuple(sorted(choices, key=lambda choice: choice.damage)),
    )


def _check_lists(**lists: Any) -> None:
    """Raises ValueError for one thing where a list of them belongs."""
    for name, value in lists.items():
        if not isinstance(value, list | tuple):
            raise ValueError(
                f"`{name}` must be a list, as [{value!r}]. Received: {name}={value!r}"
            )


def _recipes(
    recipe: Recipe, patterns: Sequence[Any], formats: Sequence[Any]
) -> Iterator[Recipe]:
    for entry, format in product(patterns, formats):
        is_pair = isinstance(entry, list | tuple) and len(entry) == 2
        pattern, sparsity = entry if is_pair else (entry, None)
        if pattern is None:
            raise ValueError(
                "forecast ranks patterns. Received: None, which prunes nothing"
            )
        yield replace(
            recipe,
            pattern=pattern,
            sparsity=sparsity,
            format=FORMATS.get(format),
            quantize=True,
            order=PRUNED_FIRST,
        )


def _choice(recipe: Recipe, order: str, gauge: Gauge, dense: float) -> Choice:
    value = gauge.measured(f"{recipe.pattern} in {recipe.format}, {order}")
    return Choice(
        pattern=recipe.pattern,
        sparsity=float(recipe.sparsity or 0.0),
        format=recipe.format,
        order=order,
        value=value,
        damage=value - dense if gauge.less_is_better else dense - value,
    )


def _show(choice: Choice, done: int, total: int) -> None:
    line = f"qsparse.forecast {done}/{total} {choice.name}: {choice.value:.4g}"
    print(line, file=sys.stderr, flush=True)
