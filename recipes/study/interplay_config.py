"""What a study of interplay compares: a file that a user writes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import qsparse
from qsparse.planning.recipe import ORDERS
from qsparse.recipes.study.tasks import TASKS

# What stands in a name where nothing is pruned, nothing rounded, or only one is done.
DENSE, FLOAT, NONE = "dense", "float", "-"
# The protocol of what `qsparse.analyse` says of the dense network, with the first seed.
LOOK = "analysis"
AFTER, TUNED, TRAINED = "after", "fine-tuned", "trained"
PROTOCOLS = {
    AFTER: "the trained dense network is pruned and rounded, and not trained again",
    TUNED: "trained with its mask, then rounded and not trained again",
    TRAINED: "trained with mask and rounding; only the order of the two differs",
}
# What a protocol is held against: by which protocol nothing was done, pruning alone and
# rounding alone. What is fine-tuned trains with its mask and not with rounding. What is
# measured after training has statistics of its own, estimated on the data of ranges; so
# has what it is held against, for the threshold is of pruning and rounding only.
ALONE = {
    AFTER: (AFTER, AFTER, AFTER),
    TUNED: (AFTER, TUNED, AFTER),
    TRAINED: (DENSE, TRAINED, TRAINED),
}


@dataclass(frozen=True)
class Config:
    """A grid: every pattern with every format, in each order, by each protocol.

    Attributes:
        networks: names in `TASKS`.
        patterns: as "2:4", or "4x4@75%" with a share of zeros.
        formats: of weights, and of activations where a format says so.
        orders: "S->Q", "Q->S" or both.
        protocols: names in `PROTOCOLS`.
        seeds: of each setting, positive.
    """

    networks: tuple[str, ...] = ("resnet", "vit")
    patterns: tuple[str, ...] = ("unstructured@50%", "2:4", "1:4", "4x4@75%")
    formats: tuple[str, ...] = ("int8", "int4", "mxfp8", "mxfp6", "hbfp8", "hbfp6")
    orders: tuple[str, ...] = ORDERS
    protocols: tuple[str, ...] = tuple(PROTOCOLS)
    seeds: int = 3

    def __post_init__(self) -> None:
        allowed = {"networks": TASKS, "orders": ORDERS, "protocols": PROTOCOLS}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "seeds":
                _check_seeds(value)
                continue
            _check_names(field.name, value)
            for entry in value:
                if entry not in allowed.get(field.name, [entry]):
                    raise ValueError(
                        f"{field.name} may hold {', '.join(allowed[field.name])}. "
                        f"Received: {entry!r}"
                    )
            object.__setattr__(self, field.name, tuple(value))
        for pattern in self.patterns:
            for format in self.formats:
                recipe_of(pattern, format)

    @classmethod
    def read(cls, path: Path) -> "Config":
        """Returns what a YAML file says; what it leaves out is as above.

        Raises:
            ValueError: if it is no such file; the message names the key, what came,
                and what is allowed.
            OSError: if it cannot be read.
            ImportError: if pyyaml is not installed.
        """
        import yaml

        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no YAML file: {error}") from error
        known = [field.name for field in fields(cls)]
        if not isinstance(found, dict) or set(found) - set(known):
            came = found if not isinstance(found, dict) else sorted(map(str, found))
            raise ValueError(
                f"{path} must hold some of the keys {', '.join(known)}. Received: "
                f"{came!r}"
            )
        try:
            return cls(**found)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _check_seeds(value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"seeds must be a positive number. Received: {value!r}")


def _check_names(key: str, value: Any) -> None:
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    if not is_list or not value or not all(isinstance(each, str) for each in value):
        # YAML reads 2:4 without quotes as a number of the base 60.
        raise ValueError(
            f'{key} must be a list of text, quoted as "2:4". Received: {value!r}'
        )
    if len(set(value)) < len(value):
        raise ValueError(f"{key} names something twice. Received: {value!r}")


def recipe_of(
    pattern: str | None, format: str | None, order: str = ORDERS[0]
) -> qsparse.Recipe:
    """Returns the recipe of a pattern, a format and an order.

    Both begin with the first step; masks stay from the half on.

    Args:
        pattern: as "2:4" or "4x4@75%"; None prunes nothing.
        format: as "int8"; None rounds nothing.
        order: "S->Q" or "Q->S".

    Raises:
        ValueError: if one of them is none of these.
    """
    settings: dict[str, Any] = {"quantize": format is not None, "order": order}
    if format is not None:
        settings |= {"format": format, "quantize_from": 0.0}
    name, _, share = (pattern or "").partition("@")
    if share:
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)?%", share):
            raise ValueError(
                f"patterns may hold text as 2:4 or 4x4@75%. Received: {pattern!r}"
            )
        settings["sparsity"] = float(share.removesuffix("%")) / 100
    return qsparse.Recipe(name or None, **settings)
