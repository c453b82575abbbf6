"""Saving: models and weights come back with their recipe, masks and ranges.

`model.save("m.keras")` and `model.save_weights("m.weights.h5")` need no help:
plain Keras loads both and gets the pruned, quantized weights. These functions
also bring back the dense master weights, masks, ranges and the clock, so that
training goes on exactly where it stopped.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras

from qsparse.compressor import attach
from qsparse.recipe import Recipe

_RECIPE = "compression_state/vars/recipe"
_RECIPE_LIMIT = 1 << 20


def read_recipe(path: str | Path) -> Recipe | None:
    """Return the recipe that a `.keras` or `.weights.h5` file carries, or None.

    Raises:
        ValueError: if the file cannot be read as either format.
    """
    path = Path(path)
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                with archive.open("model.weights.h5") as weights:
                    return _recipe_in(h5py.File(weights, "r"))
        with h5py.File(path, "r") as weights:
            return _recipe_in(weights)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"Cannot read '{path}' as a .keras or .weights.h5 file: {error}"
        ) from error


def load_model(path: str | Path, **kwargs: Any) -> keras.Model:
    """Load a `.keras` file, with its compression attached if it carries one.

    Args:
        path: a file written by `model.save`.
        **kwargs: passed on to `keras.models.load_model`.

    Raises:
        ValueError: if the file cannot be read.
    """
    recipe = read_recipe(path)
    model = keras.models.load_model(path, **kwargs)
    if recipe is not None:
        attach(model, recipe)
        model.load_weights(path)
    return model


def load_weights(model: keras.Model, path: str | Path) -> keras.Model:
    """Load a `.weights.h5` file, attaching the recipe it carries if needed.

    Args:
        model: a built model of the architecture that was saved.
        path: a file written by `model.save_weights`.

    Raises:
        ValueError: if the file cannot be read, or carries another recipe than
            the model does.
    """
    recipe = read_recipe(path)
    if recipe is not None:
        attach(model, recipe)
    model.load_weights(path)
    return model


def _recipe_in(weights: h5py.File) -> Recipe | None:
    if _RECIPE not in weights:
        return None
    data = weights[_RECIPE]
    if data.size > _RECIPE_LIMIT:
        raise ValueError(f"the recipe in this file is {data.size} bytes long")
    return Recipe.from_dict(json.loads(data[()].tobytes()))
