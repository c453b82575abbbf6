"""What exporting costs real networks on real inputs."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import (
    outputs,
    photo_predictions,
    sentence_embeddings,
    share_right,
)
from qsparse.tflite_export.export import export

_TOKENS = 64
_SENTENCES = 200
_CALIBRATION = 64


def efficientnet_lite0(folder: Path) -> dict[str, Any]:
    """Compares the classes of the photos in float and in int8.

    Args:
        folder: for the file.
    """
    from qsparse.recipes.efficientnet_lite import efficientnet_lite0, normalize
    from qsparse.recipes.photos import load_crops

    model, path = efficientnet_lite0(), folder / "photos.tflite"
    export(model, path, normalize(load_crops(_CALIBRATION)))
    wanted, found = photo_predictions(model), photo_predictions(path)
    return {
        "top1_float": wanted.tolist(),
        "top1_int8": found.tolist(),
        "equal": int((wanted == found).sum()),
    }


def minilm(folder: Path) -> dict[str, Any]:
    """Compares sentence embeddings, and the accuracy of a fine-tuned classifier.

    Args:
        folder: for the files, and for the training, which is done once.
    """
    return _embeddings(folder) | _sentiment(folder)


def _embeddings(folder: Path) -> dict[str, Any]:
    from qsparse.recipes.minilm import encoder, tokenize
    from qsparse.recipes.movie_sentences import load_split

    model = encoder(_TOKENS)
    calibration, test = load_split(_CALIBRATION, _SENTENCES)
    data = tokenize(calibration.texts, _TOKENS)
    wanted = sentence_embeddings(model, test.texts, _TOKENS)
    found: dict[str, Any] = {"sentences": _SENTENCES}
    for name in ("int8", "dynamic_range"):
        path = folder / f"embedder-{name}.tflite"
        export(model, path, data, dynamic_range=name == "dynamic_range")
        cosine = (wanted * sentence_embeddings(path, test.texts, _TOKENS)).sum(axis=1)
        found[f"cosine_{name}"] = float(cosine.mean())
        found[f"least_cosine_{name}"] = float(cosine.min())
    return found


def _sentiment(folder: Path) -> dict[str, Any]:
    from qsparse.recipes.sentiment import fine_tune

    tuned = fine_tune(folder / "sentiment", verbose=2)
    path = folder / "sentiment.tflite"
    calibration = {k: v[:_CALIBRATION] for k, v in tuned.train_inputs.items()}
    export(tuned.quantized_model, path, calibration)
    models = {
        "float": tuned.float_model,
        "fake_quant": tuned.quantized_model,
        "int8": path,
    }
    return {
        f"accuracy_{name}": share_right(model, tuned.test_inputs, tuned.test_labels)
        for name, model in models.items()
    } | {
        "flipped": int(
            np.count_nonzero(
                outputs(tuned.quantized_model, tuned.test_inputs).argmax(axis=1)
                != outputs(path, tuned.test_inputs).argmax(axis=1)
            )
        ),
        "tested": len(tuned.test_labels),
    }


MEASURES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "minilm": minilm,
    "efficientnet_lite0": efficientnet_lite0,
}


def main(arguments: list[str] | None = None) -> int:
    """Measures one network and prints JSON; returns the exit code.

    Args:
        arguments: command line without the program; None takes `sys.argv`.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=MEASURES)
    parser.add_argument("folder", type=Path, help="for files; must exist")
    parser.add_argument("result", type=Path, help="where to write the figures, JSON")
    options = parser.parse_args(arguments)
    found = MEASURES[options.network](options.folder)
    options.result.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
