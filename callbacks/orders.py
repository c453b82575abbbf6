"""Named settings of `Compress`: which comes first, and how the two compose.

| callback | prunes during | quantizes from | kernel |
|---|---|---|---|
| `PruneThenQuantize` | 0% - 50% of training | 50% | `Q(S(w))` |
| `QuantizeThenPrune` | 25% - 75% | 0% | `S(Q(w))` |
| `Joint` | 0% - 50% | 0% | `Q(S(w))` |
| `Prune` | 0% - 50% | - | `S(w)` |
| `Quantize` | - | 0% | `Q(w)` |

Every keyword of `qsparse.Recipe` may be given to override a setting, and
`total_steps`, `total_epochs`, `score_data`, `guard` or `baseline` of `Compress`.
"""

from numbers import Real
from typing import Any

from qsparse.callbacks.compress import Compress
from qsparse.planning.recipe import Recipe

_OF_COMPRESS = ("total_steps", "total_epochs", "score_data", "guard", "baseline")


class _Named(Compress):
    """A named setting: the keywords of a recipe, checked as a caller writes them."""

    def __init__(self, pattern: Any, settings: dict[str, Any]) -> None:
        name = type(self).__name__
        if isinstance(pattern, Recipe):
            raise ValueError(
                f"{name} makes a recipe of the settings it is given. "
                "Compress(recipe) carries out one as it is."
            )
        if isinstance(pattern, Real) and not isinstance(pattern, bool):
            raise ValueError(
                f"The first argument of {name} is the pattern. Give the sparsity by "
                f"name: {name}(sparsity={pattern})."
            )
        ours = {key: settings.pop(key) for key in _OF_COMPRESS if key in settings}
        super().__init__(Recipe(pattern=pattern, **settings), **ours)


class PruneThenQuantize(_Named):
    """Prunes first, then trains the sparse model with int8 fake quantization.

    Masks are frozen while the model learns to live with int8. With no argument:
    75% of 4x4 blocks, cubic schedule over the first half, pruned weights left alone.

    Args:
        pattern: see `qsparse.Recipe`, as for every other keyword.
        sparsity: share of zeros in [0, 1) per pruned layer.
        **settings: any other keyword of `qsparse.Recipe` or `Compress`.

    Raises:
        ValueError: on an unknown keyword, or as `qsparse.Recipe` does.

    Example:
    ```python
    model.fit(x, y, epochs=10, callbacks=[PruneThenQuantize()])
    ```
    """

    def __init__(
        self, pattern: Any = "block", sparsity: float | None = None, **settings: Any
    ) -> None:
        super().__init__(pattern, {"sparsity": sparsity, **settings})


class QuantizeThenPrune(_Named):
    """Trains with int8 fake quantization from the start, prunes in the middle.

    Masks score the quantized weight, and the mask is laid on it: `S(Q(w))`.
    Takes the arguments of `PruneThenQuantize`.
    """

    def __init__(
        self, pattern: Any = "block", sparsity: float | None = None, **settings: Any
    ) -> None:
        phases = {"prune_from": 0.25, "prune_until": 0.75, "quantize_from": 0.0}
        settings = {"order": "Q->S", **phases, **settings}
        super().__init__(pattern, {"sparsity": sparsity, **settings})


class Joint(_Named):
    """Prunes and quantizes from the first step: `Q(S(w))` throughout.

    Takes the arguments of `PruneThenQuantize`.
    """

    def __init__(
        self, pattern: Any = "block", sparsity: float | None = None, **settings: Any
    ) -> None:
        settings = {"quantize_from": 0.0, **settings}
        super().__init__(pattern, {"sparsity": sparsity, **settings})


class Prune(_Named):
    """Prunes only. Takes the arguments of `PruneThenQuantize`."""

    def __init__(
        self, pattern: Any = "block", sparsity: float | None = None, **settings: Any
    ) -> None:
        settings = {"quantize": False, **settings}
        super().__init__(pattern, {"sparsity": sparsity, **settings})


class Quantize(_Named):
    """Trains with int8 fake quantization only, from the first step.

    Args:
        **settings: keywords of `qsparse.Recipe` or `Compress`.

    Raises:
        ValueError: as `PruneThenQuantize` does.
    """

    def __init__(self, **settings: Any) -> None:
        settings = {"quantize_from": 0.0, **settings}
        super().__init__(settings.pop("pattern", None), settings)
