"""Methods: what a recipe is made of. One idea a file, each in an open registry."""

from collections.abc import Callable
from typing import TypeVar

from qsparse.methods.allocations import ALLOCATIONS
from qsparse.methods.criteria import CRITERIA
from qsparse.methods.estimators import ESTIMATORS
from qsparse.methods.formats import FORMATS
from qsparse.methods.observers import OBSERVERS
from qsparse.methods.patterns import PATTERNS
from qsparse.methods.registry import Registry
from qsparse.methods.regrowth import REGROWTHS
from qsparse.methods.schedules import SCHEDULES

REGISTRIES: dict[str, Registry] = {
    registry.kind: registry
    for registry in (
        PATTERNS,
        CRITERIA,
        ALLOCATIONS,
        SCHEDULES,
        ESTIMATORS,
        FORMATS,
        OBSERVERS,
        REGROWTHS,
    )
}
# The settings of a recipe that are methods, and where each is registered.
METHODS: dict[str, Registry] = REGISTRIES | {"activations": REGISTRIES["format"]}

_Class = TypeVar("_Class", bound=type)


def register(kind: str, name: str) -> Callable[[_Class], _Class]:
    """Returns a decorator that makes a class a method of recipes.

    A recipe takes instances of it and its name, and a saved recipe brings it back
    where its module was imported. What a class must be able to do is said in the
    module of its kind, as `qsparse.methods.criteria.Criterion` or
    `qsparse.methods.estimators.Estimator`.

    Args:
        kind: "pattern", "criterion", "allocation", "schedule", "estimator", "format",
            "observer" or "regrowth".
        name: what recipes call it.

    Raises:
        ValueError: if there is no such kind; from the decorator, if the class is no
            frozen dataclass, lacks a method, or another one has the name.

    Example:
    ```python
    @qsparse.register("criterion", "cubed")
    @dataclass(frozen=True)
    class Cubed:
        def score(self, weights):
            return abs(weights) ** 3

    model.fit(x, y, callbacks=[PruneThenQuantize(criterion="cubed")])
    ```
    """
    if kind not in REGISTRIES:
        raise ValueError(f"`kind` must be one of {sorted(REGISTRIES)}. Got {kind!r}")
    return REGISTRIES[kind].register(name)
