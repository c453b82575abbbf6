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
from qsparse.state import CHILD

_RECIPE = f"/{CHILD}/shared/vars/recipe"
_RECIPE_LIMIT = 1 << 20


def read_recipe(path: str | Path) -> Recipe | None:
    """Return the recipe that a `.keras` or `.weights.h5` file carries, or None.

    Raises:
        ValueError: if the file cannot be read as either format, or its recipe is
            not one.
    """
    path = Path(path)
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                with archive.open("model.weights.h5") as weights:
                    text = _recipe_text(h5py.File(weights, "r"))
        else:
            with h5py.File(path, "r") as weights:
                text = _recipe_text(weights)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"Cannot read '{path}' as a .keras or .weights.h5 file: {error}"
        ) from error
    try:
        return None if text is None else Recipe.from_dict(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"The recipe in '{path}' is damaged: {error}") from error


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


def _recipe_text(weights: h5py.File) -> bytes | None:
    found: list[bytes] = []

    def visit(name: str, item: Any) -> None:
        if f"/{name}".endswith(_RECIPE) and isinstance(item, h5py.Dataset):
            if item.dtype.kind != "u" or item.nbytes > _RECIPE_LIMIT:
                raise ValueError(f"'{name}' is no recipe")
            found.append(item[()].tobytes())

    weights.visititems(visit)
    return found[0] if found else None
