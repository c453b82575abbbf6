"""Saving: models and weights come back with their recipe, masks and ranges.

`model.save("m.keras")` and `model.save_weights("m.weights.h5")` need no help:
plain Keras loads both and gets the pruned, quantized weights. These functions
also bring back the dense master weights, masks, ranges and the clock, so that
training goes on exactly where it stopped.
"""

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras

from qsparse.compressor import attach
from qsparse.keras_compat import walk_layers
from qsparse.recipe import Recipe, matches
from qsparse.state import CHILD
from qsparse.targets import NORMS, find_targets

_RECIPE = f"/{CHILD}/shared/vars/recipe"
_RECIPE_LIMIT = 1 << 20


def read_recipe(path: str | Path) -> Recipe | None:
    """Return the recipe that a `.keras` or `.weights.h5` file carries, or None.

    Raises:
        ValueError: if the file cannot be read as either format, its recipe is not
            one, or its layers were compressed by several recipes or by one that
            belongs to a model of which this is a part.
    """
    recipes, layers = _read(path)
    if len(recipes) > 1 or (layers and not recipes):
        raise ValueError(
            f"'{path}' holds {layers} compressed layers and {len(recipes)} recipes. "
            "Save the model that the recipe was attached to, or qsparse.strip it "
            "before a part of it is saved; plain Keras loads this file as it is."
        )
    try:
        return Recipe.from_dict(json.loads(recipes[0])) if recipes else None
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"The recipe in '{path}' is damaged: {error}") from error


def load_model(path: str | Path, **kwargs: Any) -> keras.Model:
    """Load a `.keras` file, with its compression attached if it carries one.

    Args:
        path: a file written by `model.save`.
        **kwargs: passed on to `keras.models.load_model`.

    Raises:
        ValueError: if the file cannot be read, or only a part of the model in it
            was compressed.
    """
    recipe = read_recipe(path)
    model = keras.models.load_model(path, **kwargs)
    if recipe is not None:
        _attach_as_saved(model, recipe, path)
        model.load_weights(path)
    return model


def load_weights(model: keras.Model, path: str | Path) -> keras.Model:
    """Load a `.weights.h5` file, attaching the recipe it carries if needed.

    Args:
        model: a built model of the architecture that was saved.
        path: a file written by `model.save_weights`.

    Raises:
        ValueError: if the file cannot be read, carries another recipe than the
            model does, or only a part of the model in it was compressed.
    """
    recipe = read_recipe(path)
    if recipe is not None:
        _attach_as_saved(model, recipe, path)
    model.load_weights(path)
    return model


def _attach_as_saved(model: keras.Model, recipe: Recipe, path: str | Path) -> None:
    paths = [place for place, _ in walk_layers(model)]
    known = (e for e in recipe.exclude if any(matches(e, place) for place in paths))
    recipe = replace(recipe, exclude=tuple(known))
    targets = find_targets(model, recipe)
    # A normalization has nothing of its own to store.
    wanted = sum(not isinstance(t.layer, NORMS) for t in targets)
    saved = _read(path).layers
    if saved != wanted:
        raise ValueError(
            f"'{path}' holds {saved} compressed layers, but its recipe covers {wanted} "
            "layers of this model: only a part of it was compressed. Build or load the "
            "model with plain Keras, qsparse.attach the recipe to that part, then call "
            "model.load_weights."
        )
    attach(model, recipe)


class _Contents(NamedTuple):
    """What a weights file holds of ours: recipes, and compressed layers."""

    recipes: list[bytes]
    layers: int


def _read(path: str | Path) -> _Contents:
    path = Path(path)
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                with archive.open("model.weights.h5") as weights:
                    return _contents(h5py.File(weights, "r"))
        with h5py.File(path, "r") as weights:
            return _contents(weights)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"Cannot read '{path}' as a .keras or .weights.h5 file: {error}"
        ) from error


def _contents(weights: h5py.File) -> _Contents:
    recipes: list[bytes] = []
    layers: set[str] = set()

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        group = f"/{name}".rpartition("/vars/")[0]
        if group.endswith(f"/{CHILD}"):
            layers.add(group)
        if f"/{name}".endswith(_RECIPE):
            if item.dtype.kind != "u" or item.nbytes > _RECIPE_LIMIT:
                raise ValueError(f"'{name}' is no recipe")
            recipes.append(item[()].tobytes())

    weights.visititems(visit)
    return _Contents(recipes, len(layers))
