"""What users hand to a callback, checked before `fit` begins."""

from typing import Any

import keras

from qsparse.callbacks.guard import Guard
from qsparse.engine.batches import Batches
from qsparse.methods.validate import whole
from qsparse.planning.recipe import Recipe


def check_recipe(recipe: Any) -> None:
    """Raises ValueError if it is no recipe."""
    if not isinstance(recipe, Recipe):
        raise ValueError(
            "Compress takes a qsparse.Recipe, as in Compress(Recipe(pattern="
            f"'block')). Received: {recipe!r}"
        )


def check_totals(total_steps: Any, total_epochs: Any) -> None:
    """Raises ValueError if one is not positive, or both are given."""
    totals = {"total_steps": total_steps, "total_epochs": total_epochs}
    for name, total in totals.items():
        if total is not None and whole(name, total) < 1:
            raise ValueError(f"`{name}` must be positive. Received: {total}")
    if None not in totals.values():
        raise ValueError("Give either total_steps or total_epochs, not both.")


def check_score_data(recipe: Recipe, score_data: Any) -> None:
    """Raises ValueError or TypeError if no mask could be selected by such data."""
    if score_data is None:
        return
    if not recipe.prunes:
        raise ValueError(
            "`score_data` is what masks are selected by, and this recipe prunes "
            "nothing. Leave it out."
        )
    Batches(score_data, "score_data", again=True)


def check_guard(recipe: Recipe, guard: Any) -> None:
    """Raises ValueError if it is no guard, or cannot guard this recipe."""
    if guard is None:
        return
    if not isinstance(guard, Guard):
        raise ValueError(
            "`guard` must be a Guard, as in guard=Guard('val_accuracy', 0.01). "
            f"Received: {guard!r}"
        )
    if not recipe.prunes:
        raise ValueError(
            "`guard` is what sparsity grows by, and this recipe prunes nothing. "
            "Leave it out."
        )
    estimators = (recipe.estimator, *(rule.estimator for rule in recipe.rules))
    soft = [e for e in estimators if getattr(e, "dense_until_the_end", False)]
    if soft:
        raise ValueError(
            f"A guard judges the model by its validation, in which {soft[0]} computes "
            "with weights that are pruned at the end. Take another estimator, or no "
            "guard."
        )


def check_baseline(baseline: Any) -> None:
    """Raises ValueError if it is no model."""
    if baseline is not None and not isinstance(baseline, keras.Model):
        raise ValueError(
            "`baseline` must be a dense model, as of keras.models.load_model. "
            f"Received: {baseline!r}"
        )
