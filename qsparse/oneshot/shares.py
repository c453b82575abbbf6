"""Shares: how sparse each layer gets where an allocation asks for scores."""

from collections.abc import Sequence
from dataclasses import replace

from qsparse.engine.kernel import KernelCompression
from qsparse.engine.selection import shares_by_scores
from qsparse.methods.allocations import is_dynamic
from qsparse.planning.plan import LayerPlan
from qsparse.planning.recipe import Recipe


def shared_out(
    layers: Sequence[KernelCompression], recipe: Recipe
) -> dict[str, LayerPlan]:
    """Returns the plan of each layer, by path, with the sparsity that it is to have.

    Dynamic allocations share out by what the recipe's criterion makes of the weights
    as they are, before any layer is compressed.

    Args:
        layers: of a model that has just been attached.
        recipe: the recipe.

    Raises:
        ValueError: if a criterion scores by what comes from training or from data.
    """
    plans = {layer.path_in_model: layer.plan for layer in layers}
    pruned = [layer for layer in layers if layer.plan.prunes]
    if not pruned or not is_dynamic(recipe.allocation):
        return plans
    pruning = [layer.plan for layer in pruned]
    scores = [
        layer.plan.criterion.score(layer.master(), **layer.plan.statistics())
        for layer in pruned
    ]
    fixed = [plan.fixed for plan in pruning]
    total = recipe.sparsity or 0.0
    shares = shares_by_scores(recipe.allocation, pruning, fixed, scores, total)
    for layer, share in zip(pruned, shares, strict=True):
        plans[layer.path_in_model] = replace(layer.plan, sparsity=share)
    return plans
