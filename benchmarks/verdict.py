"""What a trial comes to: one word, and the reason."""

from benchmarks.trial import Trial
from qsparse.recipes.study.rows import Row

LEAST_SQNR_DB = 25.0
PRUNED, QUANTIZED, FLOAT = "pruned", "quantized", "float"
REFUSED, UNAVAILABLE, FAULT = "refused", "unavailable", "fault"


def verdict(trial: Trial, layer: str) -> Row:
    """Returns the row of a trial, ready for JSON.

    "pruned": the layer under trial (or the model) holds pruned weights; "quantized":
    the file computes in int8; "float": a part of the file does not; "refused": with a
    clear message; "unavailable": Keras needs a package for it that is not here;
    "fault": it crashed, with a message for developers only, or the file is far from
    Keras without a word.

    Args:
        trial: the trial.
        layer: name of the layer under trial; "" for a whole model.
    """
    pruned = [path for path in trial.pruned if layer in path.split("/")]
    return {
        "outcome": _outcome(trial, bool(pruned)),
        "stage": trial.stage,
        "note": trial.message,
        "sqnr_db": None if trial.stage != "done" else round(trial.sqnr_db, 1),
        "pruned": pruned if layer else trial.pruned,
        "unpruned": trial.unpruned,
        "int8_ops": trial.int8_ops,
        "float_ops": trial.float_ops,
        "int8_share": None if trial.stage != "done" else round(trial.int8_share, 4),
        "warnings": trial.warnings,
        "same_as_stock": trial.same_as_stock,
    }


def _outcome(trial: Trial, pruned: bool) -> str:
    if trial.error is not None:
        if trial.stage == "build":
            return UNAVAILABLE if isinstance(trial.error, ImportError) else FAULT
        return REFUSED if trial.is_clear else FAULT
    far = not trial.sqnr_db >= LEAST_SQNR_DB and not trial.warnings
    if far or not trial.same_as_stock:
        return FAULT
    if pruned:
        return PRUNED
    return FLOAT if trial.float_ops else QUANTIZED
