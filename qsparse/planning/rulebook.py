"""The rulebook: which rules of a recipe speak of which layer of a model."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import keras
from keras import layers

from qsparse.keras_compat import output_layers, own_kernel, weights_of_its_own
from qsparse.planning.progress import DENSE
from qsparse.planning.recipe import Recipe, matches
from qsparse.planning.rules import PLACES, ROLES, SETTINGS, Rule

_ATTENTION = re.compile(r"attention|attn", re.IGNORECASE)
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_DENSE = (layers.Dense, layers.EinsumDense)
_SHOWN = 20


@dataclass(frozen=True)
class Settings:
    """What a recipe says of one layer, its rules included.

    Attributes:
        left_alone: why the layer is left alone; empty if it is not.
        pattern: the pattern, or None to leave the kernel dense.
        dense: why the kernel is left dense; empty if it has a pattern.
        lacks_pattern: whether a rule sets a sparsity, and nothing a pattern.
        sparsity: the share of zeros that a rule or the pattern sets; None where it is
            allocated.
        criterion, estimator, regrowth, quantize, format, activations, observer: as of
            `qsparse.Recipe`.
        rules: numbers of the rules that speak of the layer, from 1.
        conflicts: where one of them overrules another, a sentence each.
    """

    left_alone: str
    pattern: Any
    dense: str
    lacks_pattern: bool
    sparsity: float | None
    criterion: Any
    estimator: Any
    regrowth: Any
    quantize: bool
    format: Any
    activations: Any
    observer: Any
    rules: tuple[int, ...] = ()
    conflicts: tuple[str, ...] = ()


class Rulebook:
    """What a recipe says of each layer of a model.

    Args:
        model: a built model, compressed or not.
        recipe: the recipe.
        walked: `(path, layer)` of every layer, depth first, each once.
    """

    def __init__(
        self,
        model: keras.Model,
        recipe: Recipe,
        walked: Sequence[tuple[str, layers.Layer]],
    ) -> None:
        self._model = model
        self._recipe = recipe
        self._by_path = dict(walked)
        self._names: dict[type, list[str]] = {}
        self._found: dict[str, Settings] = {}
        wanted = any(rule.role is not None for rule in recipe.rules)
        self._roles = _roles(model, walked) if wanted else {}

    def settings(self, path: str) -> Settings:
        """Returns what the recipe says of the layer at a path."""
        if path not in self._found:
            self._found[path] = self._settings(path)
        return self._found[path]

    def _settings(self, path: str) -> Settings:
        recipe = self._recipe
        values: dict[str, Any] = {name: getattr(recipe, name) for name in SETTINGS}
        values["sparsity"] = None
        given: dict[str, int] = {}
        spoken, conflicts, alone = [], [], 0
        for number, rule in enumerate(recipe.rules, 1):
            if not self.speaks_of(rule, path):
                continue
            spoken.append(number)
            if rule.leave_alone:
                conflicts += [_overruled(number, n, k) for k, n in given.items()]
                given, alone = {}, number
                continue
            if alone:
                conflicts.append(_overruled(number, alone, "leave_alone"))
                alone = 0
            for name, value in rule.settings().items():
                if name in given and values[name] != value:
                    conflicts.append(_overruled(number, given[name], name))
                given[name], values[name] = number, value
        left_alone = f"left alone by rule {alone}" if alone else ""
        if recipe.excludes(path):
            left_alone = "excluded by the recipe"
            conflicts += [f"exclude overrules rule {number}" for number in spoken]
        dense = ""
        if values["pattern"] == DENSE:
            values["pattern"], dense = None, f"dense by rule {given['pattern']}"
            if "sparsity" in given:
                conflicts.append(
                    _overruled(given["pattern"], given["sparsity"], "sparsity")
                )
        elif values["pattern"] is None:
            dense = "the recipe prunes nothing"
            dense += " here" * recipe.prunes
        return Settings(
            left_alone=left_alone,
            dense=dense,
            lacks_pattern=recipe.pattern is None
            and values["pattern"] is None
            and "sparsity" in given
            and "pattern" not in given,
            rules=tuple(spoken),
            conflicts=tuple(conflicts),
            **values,
        )

    def speaks_of(self, rule: Rule, path: str) -> bool:
        """Returns whether a rule names the layer at a path, or one that contains it."""
        if rule.path is not None and not matches(rule.path, path):
            return False
        if rule.regex is not None and not re.search(rule.regex, path):
            return False
        if rule.kind is not None and not any(
            self._is_kind(layer, rule.kind) for layer in self._above(path)
        ):
            return False
        return rule.role is None or rule.role in self._roles.get(path, ())

    def _above(self, path: str) -> list[layers.Layer]:
        """Returns the layer at a path and those that contain it."""
        names = path.split("/")
        places = ("/".join(names[: i + 1]) for i in range(len(names)))
        return [self._by_path[place] for place in places if place in self._by_path]

    def _is_kind(self, layer: layers.Layer, kind: str) -> bool:
        names = self._names.setdefault(type(layer), _class_names(layer))
        return any(fnmatchcase(name, kind) for name in names)

    def check(self) -> None:
        """Checks that every rule, and every exclusion, names a layer.

        Raises:
            ValueError: if one does not; it names the nearest there are.
        """
        for entry in self._recipe.exclude:
            if not any(matches(entry, path) for path in self._by_path):
                raise ValueError(
                    f"exclude={entry!r} matches no layer of model "
                    f"'{self._model.name}'. Give the name or path of a layer, or a "
                    f"shell pattern; {self._nearest(entry)}"
                )
        for number, rule in enumerate(self._recipe.rules, 1):
            if not any(self.speaks_of(rule, path) for path in self._by_path):
                raise ValueError(
                    f"Rule {number}, {rule}, matches no layer of model "
                    f"'{self._model.name}'. {self._instead(rule)}"
                )

    def _instead(self, rule: Rule) -> str:
        """Returns what the model has in the place of what a rule looks for."""
        hints = []
        for text in (rule.path, rule.regex):
            if text is not None:
                hints.append(f"By path, {self._nearest(text)}")
        if rule.kind is not None:
            kinds = Counter(type(layer).__name__ for layer in self._by_path.values())
            hints.append(f"Its classes of layers are {', '.join(sorted(kinds))}.")
        if rule.role is not None:
            found = {role for roles in self._roles.values() for role in roles}
            has = [role for role in ROLES if role in found]
            hints.append(f"It has layers of the roles {', '.join(has) or 'none'}.")
        if sum(getattr(rule, place) is not None for place in PLACES) > 1:
            hints.append("All that the rule says has to hold for one layer.")
        return " ".join(hints)

    def _nearest(self, text: str) -> str:
        paths = list(self._by_path)
        close = get_close_matches(text, paths, 5, 0.5)
        if not close:
            names = {path.rpartition("/")[2]: path for path in reversed(paths)}
            found = get_close_matches(text, list(names), 5, 0.5)
            close = [names[name] for name in found]
        if close:
            return f"the nearest are {', '.join(close)}."
        more = ", ..." if len(paths) > _SHOWN else "."
        return f"this model has {', '.join(paths[:_SHOWN])}{more}"


def _overruled(by: int, number: int, name: str) -> str:
    return f"{name}: rule {by} overrules rule {number}"


def _class_names(layer: layers.Layer) -> list[str]:
    return [cls.__name__ for cls in type(layer).__mro__]


def _roles(
    model: keras.Model, walked: Sequence[tuple[str, layers.Layer]]
) -> dict[str, set[str]]:
    """Returns path -> roles; see `Rule.role`."""
    found: dict[str, set[str]] = {path: set() for path, _ in walked}
    marks = dict(walked)

    def inside(path: str, role: str, is_one: Any) -> None:
        names = path.split("/")
        places = ("/".join(names[: i + 1]) for i in range(len(names)))
        if any(place in marks and is_one(place, marks[place]) for place in places):
            found[path].add(role)

    for path, layer in walked:
        inside(path, "attention", _is_attention)
        inside(path, "embedding", _is_embedding)
        if isinstance(layer, _DEPTHWISE):
            found[path].add("depthwise")
    with_weights = [path for path, layer in walked if _has_weights(layer)]
    with_kernel = [path for path in with_weights if own_kernel(marks[path]) is not None]
    if with_weights:
        found[with_weights[0]].add("first")
    leaving = {id(layer) for layer in output_layers(model)}
    ends = [path for path in with_kernel if id(marks[path]) in leaving]
    for path in ends or with_kernel[-1:]:
        found[path].add("last")
    if any("attention" in roles for roles in found.values()):
        for path, layer in walked:
            if isinstance(layer, _DENSE) and not found[path] and _on_sequences(layer):
                found[path].add("feed_forward")
    return found


def _is_attention(path: str, layer: layers.Layer) -> bool:
    names = [path.rpartition("/")[2], *_class_names(layer)]
    return any(_ATTENTION.search(name) for name in names)


def _is_embedding(path: str, layer: layers.Layer) -> bool:
    return any("Embedding" in name for name in _class_names(layer))


def _has_weights(layer: layers.Layer) -> bool:
    return layer.built and any(len(v.shape) > 1 for v in weights_of_its_own(layer))


def _on_sequences(layer: layers.Layer) -> bool:
    shape = (layer.get_build_config() or {}).get("input_shape")
    return shape is not None and len(shape) > 2
