"""What the study of baselines compares."""

from dataclasses import dataclass, field
from typing import Any

# Where a training begins: with random weights, with those of the dense warm-up, or with
# those of the whole dense training, after which nothing is trained.
SCRATCH, WARM, TRAINED = "scratch", "warm", "trained"
DENSE = "dense"


@dataclass(frozen=True)
class Method:
    """One way to a sparse network.

    Attributes:
        settings: of the recipe, but for pattern and sparsity.
        start: `SCRATCH`, `WARM` or `TRAINED`.
        one_shot: name of the `qsparse.one_shot` method that prunes at the start; what
            is left of the training is fine-tuning.
        sees: whether masks are selected with the help of training data.
        distilled: whether the dense network teaches.
        shares_out: whether it differs from the others by how it shares the zeros out
            among layers, which N:M patterns leave no room for.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    start: str = WARM
    one_shot: str | None = None
    sees: bool = False
    distilled: bool = False
    shares_out: bool = False


# A mask that stands before the first step.
_STATIC = {"schedule": "constant", "prune_until": 0.0}
_MOVING = {"schedule": "constant", "prune_until": 0.75, "quantize_from": 0.75}
_ERK = {"allocation": "erk"}
# Gradients have to be there before the first selection.
_AFTER = {"prune_from": 0.05}

METHODS = {
    DENSE: Method(),
    "magnitude": Method({"estimator": "masked"}),
    "ste": Method({"estimator": "ste"}),
    "sr-ste": Method({"estimator": "sr-ste"}),
    "sr-ste-decoupled": Method({"estimator": "sr-ste-decoupled"}),
    "decaying-mask": Method({"estimator": "decaying-mask", "schedule": "constant"}),
    "soft-shrinkage": Method({"estimator": "soft-shrinkage"}),
    "cast": Method({"estimator": "cast"}),
    "movement": Method({"criterion": "movement", "estimator": "ste"} | _AFTER),
    "fisher": Method({"criterion": "fisher", "estimator": "ste"} | _AFTER),
    "wanda": Method({"criterion": "wanda", "estimator": "masked"}, sees=True),
    "magnitude-erk": Method({"estimator": "masked"} | _ERK, shares_out=True),
    "random": Method(
        {"criterion": "random", "estimator": "masked"} | _STATIC, start=SCRATCH
    ),
    "random-erk": Method(
        {"criterion": "random", "estimator": "masked"} | _STATIC | _ERK,
        start=SCRATCH,
        shares_out=True,
    ),
    "set": Method(
        {"regrowth": "set", "estimator": "masked"} | _MOVING | _ERK,
        start=SCRATCH,
        shares_out=True,
    ),
    "rigl": Method(
        {"regrowth": "rigl", "estimator": "ste"} | _MOVING | _ERK,
        start=SCRATCH,
        shares_out=True,
    ),
    "one-shot-magnitude": Method(start=TRAINED, one_shot="magnitude"),
    "one-shot-sparsegpt": Method(start=TRAINED, one_shot="sparsegpt"),
    "one-shot-obs": Method(start=TRAINED, one_shot="obs"),
    "obs-then-training": Method({"estimator": "masked"}, one_shot="obs"),
    "distilled": Method({"estimator": "sr-ste"}, distilled=True),
}

# Pattern and share of zeros.
PATTERNS: dict[str, tuple[str, float]] = {
    "2:4": ("2:4", 0.5),
    "4:16": ("4:16", 0.75),
    "4x4@50%": ("4x4", 0.5),
    "4x4@75%": ("4x4", 0.75),
    "4x4@90%": ("4x4", 0.9),
    "80%": ("unstructured", 0.8),
    "90%": ("unstructured", 0.9),
}
