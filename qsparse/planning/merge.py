"""Merging: a recipe that adds to the one a model has carried out.

`fit` with `Prune()` and then with `Quantize()` is one recipe in two trainings: the
masks stay, and quantization begins. What a model carries already is never changed.
"""

from dataclasses import replace

from qsparse.planning.recipe import Recipe

# The two parts of a recipe, and the settings that belong to each.
_PARTS = {
    "pruning": (
        "pattern",
        "sparsity",
        "criterion",
        "allocation",
        "schedule",
        "estimator",
        "regrowth",
        "prune_from",
        "prune_until",
        "update_every",
        "prune_frozen",
    ),
    "quantizing": (
        "quantize",
        "format",
        "activations",
        "quantize_from",
        "observer",
        "freeze_statistics_from",
        "freeze_ranges_from",
    ),
}


def parts(recipe: Recipe) -> set[str]:
    """Returns which of "pruning" and "quantizing" a recipe has."""
    has = {"pruning": recipe.prunes, "quantizing": recipe.quantizes}
    return {part for part, there in has.items() if there}


def contradictions(carried: Recipe, new: Recipe) -> list[str]:
    """Returns the settings of `new` that contradict the recipe a model carries.

    A setting counts only where both recipes have the part it belongs to; `order` and
    `exclude` count where neither adds to the other; a new rule counts where they share
    a part. An estimator that nobody named contradicts none.
    """
    shared = parts(carried) & parts(new)
    names = [name for part in sorted(shared) for name in _PARTS[part]]
    if parts(carried) == parts(new):
        names += ["order", "exclude"]
    if new.estimator is None:
        names = [name for name in names if name != "estimator"]
    found = [name for name in names if getattr(carried, name) != getattr(new, name)]
    # What a rule sets of a part that is carried already would not be carried out.
    more = set(new.rules) - set(carried.rules)
    fewer = set(carried.rules) - set(new.rules)
    if shared and (more or (fewer and parts(carried) == parts(new))):
        found.append("rules")
    return found


def merged(carried: Recipe, new: Recipe) -> Recipe:
    """Returns the carried recipe with the parts that only `new` has.

    Args:
        carried: the recipe that a model carries.
        new: one without `contradictions` to it.
    """
    added = parts(new) - parts(carried)
    if not added:
        return carried
    names = [name for part in added for name in _PARTS[part]]
    exclude = dict.fromkeys((*carried.exclude, *new.exclude))
    changes = {name: getattr(new, name) for name in (*names, "order", "strict")}
    rules = dict.fromkeys((*carried.rules, *new.rules))
    return replace(carried, **changes, exclude=tuple(exclude), rules=tuple(rules))
