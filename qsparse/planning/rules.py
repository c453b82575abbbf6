"""Rules: what is different for some layers of a model.

A rule names layers by path, regular expression, class or role, and gives them settings
of their own. Which layers a rule names in a model is found in
`qsparse.planning.rulebook`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from qsparse.methods import METHODS
from qsparse.methods.formats import check_activations
from qsparse.methods.patterns import check_sparsity
from qsparse.planning.progress import DENSE

ROLES = ("first", "last", "attention", "feed_forward", "depthwise", "embedding")
# What a rule calls a layer by; all that are given have to hold.
PLACES = ("path", "regex", "kind", "role")
# What a rule may set.
SETTINGS = (
    "pattern",
    "sparsity",
    "criterion",
    "estimator",
    "regrowth",
    "quantize",
    "format",
    "activations",
    "observer",
)
# Recipes come with files, which nobody knows: an expression like "(a+)+$" takes longer
# than anyone waits, on a name made for it.
_LONGEST = 256
_ENDLESS = re.compile(r"[*+}]\)*\)[*+{]")


@dataclass(frozen=True)
class Rule:
    """Settings for the layers that it names, in the place of the recipe's.

    A layer has to be all that is said of it, or lie in a layer that is. Of several
    rules that set the same for a layer, the last one in the recipe counts.

    Attributes:
        path: shell pattern of names or paths of layers: "head", "block_*/conv".
        regex: regular expression that is found in the path: "block_[0-3]/".
        kind: name of the layer's class or of one it is made from, or a shell pattern
            of such names: "Conv2D", "Dense", "*Attention". A class is taken for its
            name.
        role: what the layer is in the model:
            "first", the first one with weights, in the model's order;
            "last", those whose outputs leave the model, or the last with a kernel;
            "attention", what lies in a layer named or classed as attention;
            "feed_forward", a dense layer of a model with attention that works on
            sequences, and is none of the others;
            "depthwise", a depthwise convolution;
            "embedding", what lies in a layer classed as embedding.
        leave_alone: True neither prunes nor quantizes the layer, as `exclude` does.
        pattern: as of `qsparse.Recipe`; "dense" prunes nothing.
        sparsity: share of zeros in [0, 1) of each of these layers; no allocation
            changes it.
        criterion, estimator, regrowth: as of `qsparse.Recipe`.
        quantize: whether these layers train with fake quantization. An int8 file
            holds them in int8 either way: what did not train is calibrated.
        format, activations, observer: as of `qsparse.Recipe`. Where a rule gives a
            format only, activations are still those of the recipe, if it gives any.

    Raises:
        ValueError: if it names no layers, sets nothing, or a value is not allowed.
        TypeError: on a keyword that is no setting of a rule.

    Example:
    ```python
    PruneThenQuantize(
        "4x4",
        sparsity=0.75,
        rules=[
            Rule(role="attention", pattern="2:4"),
            Rule("block_0/*", sparsity=0.5),
            Rule(role="last", leave_alone=True),
        ],
    )
    ```
    """

    path: str | None = None
    regex: str | None = None
    kind: Any = None
    role: str | None = None
    leave_alone: bool = False
    pattern: Any = None
    sparsity: float | None = None
    criterion: Any = None
    estimator: Any = None
    regrowth: Any = None
    quantize: bool | None = None
    format: Any = None
    activations: Any = None
    observer: Any = None

    def __new__(cls, *args: Any, **settings: Any) -> "Rule":
        """Name the setting that was meant, where a keyword is none."""
        for unknown in settings.keys() - cls.__dataclass_fields__.keys():
            known = list(cls.__dataclass_fields__)
            close = get_close_matches(unknown, known, 1)
            meant = f": that is `{close[0]}` here" if close else ""
            raise TypeError(
                f"Rule has no setting {unknown!r}{meant}. A rule names layers by "
                f"{', '.join(PLACES)} and sets leave_alone, {', '.join(SETTINGS)}."
            )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        if isinstance(self.kind, type):
            put("kind", self.kind.__name__)
        for name in PLACES:
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise ValueError(
                    f"`{name}` of a rule must be text. Received: {name}={value!r}"
                )
        if all(getattr(self, name) is None for name in PLACES):
            raise ValueError(
                f"A rule names layers by {', '.join(PLACES)}. Received none of them; "
                'Rule("*", ...) is for every layer.'
            )
        self._check_places()
        for name in METHODS.keys() & SETTINGS:
            value = getattr(self, name)
            if value is not None and not (name == "pattern" and value == DENSE):
                put(name, METHODS[name].get(value))
        check_activations(self.activations)
        for name, allowed in (("leave_alone", (False, True)), ("quantize", None)):
            value = getattr(self, name)
            if not isinstance(value, bool) and (allowed or value is not None):
                raise ValueError(
                    f"`{name}` of a rule must be True or False. Received: "
                    f"{name}={value!r}"
                )
        self._check_settings(put)

    def _check_places(self) -> None:
        if self.role is not None and self.role not in ROLES:
            raise ValueError(
                f"`role` must be one of {ROLES}. Received: role={self.role!r}"
            )
        regex = self.regex or ""
        if len(regex) > _LONGEST or _ENDLESS.search(regex):
            raise ValueError(
                f"`regex` must have at most {_LONGEST} characters, and repeat no group "
                f"that repeats something itself. Received: regex={regex!r}"
            )
        try:
            re.compile(regex)
        except re.error as error:
            raise ValueError(
                f"`regex` is no regular expression: {error}. Received: "
                f"regex={self.regex!r}"
            ) from error

    def _check_settings(self, put: Any) -> None:
        settings = self.settings()
        if self.leave_alone and settings:
            raise ValueError(
                f"{self} leaves layers alone, so it can set nothing for them. "
                f"Received: {', '.join(settings)}"
            )
        if not self.leave_alone and not settings:
            raise ValueError(
                f"{self} sets nothing. Give leave_alone=True, or one of "
                f"{', '.join(SETTINGS)}."
            )
        if self.sparsity is None:
            return
        if self.pattern == DENSE:
            raise ValueError(
                f"{self} sets a sparsity for layers that it leaves dense. Received: "
                f"sparsity={self.sparsity!r}"
            )
        if self.pattern is not None:
            put("sparsity", self.pattern.final_sparsity(self.sparsity))
        put("sparsity", check_sparsity(self.sparsity, str(self)))

    def settings(self) -> dict[str, Any]:
        """Returns what the rule sets, by name."""
        values = {name: getattr(self, name) for name in SETTINGS}
        return {name: value for name, value in values.items() if value is not None}

    def prunes(self) -> bool:
        """Returns whether the rule lays a pattern on layers."""
        return self.pattern is not None and self.pattern != DENSE

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-ready description of what was given."""
        config: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or value is False and field.name == "leave_alone":
                continue
            is_method = field.name in METHODS and value != DENSE
            config[field.name] = (
                METHODS[field.name].to_dict(value) if is_method else value
            )
        return config

    def __str__(self) -> str:
        places = [(name, getattr(self, name)) for name in PLACES]
        given = ", ".join(f"{name}={value!r}" for name, value in places if value)
        return f"Rule({given})"


def as_rules(rules: Any) -> tuple[Rule, ...]:
    """Returns rules of a list of them, or of what `Rule.to_dict` wrote.

    Raises:
        ValueError: if it is no such list; it says which entry is wrong.
    """
    if isinstance(rules, Rule | Mapping) or not isinstance(rules, list | tuple):
        raise ValueError(
            f"`rules` must be a list of qsparse.Rule. Received: rules={rules!r}"
        )
    found = []
    for number, entry in enumerate(rules, 1):
        try:
            if isinstance(entry, Mapping):
                entry = Rule(**entry)
        except (TypeError, ValueError) as error:
            raise ValueError(f"Rule {number}: {error}") from error
        if not isinstance(entry, Rule):
            raise ValueError(
                f"`rules` must be a list of qsparse.Rule. Entry {number} is {entry!r}"
            )
        found.append(entry)
    return tuple(found)
