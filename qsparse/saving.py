"""Saving: models and weights come back with their recipe, masks and ranges.

`model.save("m.keras")` and `model.save_weights("m.weights.h5")` need no help:
plain Keras loads both and gets the pruned, quantized weights. These functions
also bring back the dense master weights, masks, ranges and the clock, so that
training goes on exactly where it stopped.
"""

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras

from qsparse.engine.compressor import attach, attach_to, strip
from qsparse.engine.phases import report_unfinished
from qsparse.engine.state import CHILD, SHARED, state_of
from qsparse.keras_compat import saved_paths, walk_layers
from qsparse.planning.plan import LayerPlan, plan_of
from qsparse.planning.recipe import Recipe
from qsparse.planning.targets import NORMS, QUANTIZABLE, Survey

_RECIPE = f"/{CHILD}/{SHARED}/vars/recipe"
_TEXT_LIMIT = 1 << 20


def read_recipe(path: str | Path) -> Recipe | None:
    """Returns the recipe that a `.keras` or `.weights.h5` file carries, or None.

    Raises:
        ValueError: if the file cannot be read as either format, its recipe is not
            one, or its layers were compressed by several recipes or by one that
            belongs to a model of which this is a part.
    """
    recipes, layers, _ = _read(path)
    if len(recipes) > 1 or (layers and not recipes):
        raise ValueError(
            f"'{path}' holds {len(layers)} compressed layers and {len(recipes)} "
            "recipes. Save the model that the recipe was attached to, or qsparse.strip "
            "it before a part of it is saved; plain Keras loads this file as it is."
        )
    try:
        return Recipe.from_dict(json.loads(recipes[0])) if recipes else None
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"The recipe in '{path}' cannot be used: {error}") from error


def load_model(path: str | Path, **kwargs: Any) -> keras.Model:
    """Loads a `.keras` file, with its compression attached if it carries one.

    Warns if the recipe was not carried out when the file was written. Do not use
    `keras.models.load_model` to train on: it gives a plain model, in which the zeros
    are ordinary weights that grow back, and nothing of qsparse runs that could say so.

    Args:
        path: a file written by `model.save`.
        **kwargs: passed on to `keras.models.load_model`.

    Raises:
        ValueError: if the file cannot be read.
    """
    recipe = read_recipe(path)
    with warnings.catch_warnings():
        if recipe is not None and recipe.trains_ranges:
            # The optimizer is read again below, when it has these to train.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
        model = keras.models.load_model(path, **kwargs)
    if recipe is not None:
        _attach_as_saved(model, recipe, path)
        model.load_weights(path)
        report_unfinished(model, strict=False)
    return model


def load_weights(model: keras.Model, path: str | Path) -> keras.Model:
    """Loads a `.weights.h5` file, attaching the recipe it carries if needed.

    Warns if the recipe was not carried out when the file was written.

    Args:
        model: a built model of the architecture that was saved.
        path: a file written by `model.save_weights`.

    Raises:
        ValueError: if the file cannot be read, carries another recipe than the
            model does, or belongs to a model of another architecture.
    """
    recipe = read_recipe(path)
    if recipe is not None:
        _attach_as_saved(model, recipe, path)
    model.load_weights(path)
    if recipe is not None:
        report_unfinished(model, strict=False)
    return model


def _attach_as_saved(model: keras.Model, recipe: Recipe, path: str | Path) -> None:
    """Compresses the layers that the file holds compressed, and no others.

    The file knows them by where they lie. Names that `exclude` gives may belong to
    other layers in this process, where Keras counted them anew.
    """
    contents = _read(path)
    saved = contents.layers
    places = {f"{place}/{CHILD}": layer for place, layer in saved_paths(model)}
    pruned = {places[p]: mask for p, mask in saved.items() if p in places}
    survey = Survey(model, recipe)
    unfit = [layer.name for layer in pruned if _unfit(survey, layer)]
    if len(pruned) < len(saved) or unfit:
        lost = unfit or [p.removesuffix(f"/{CHILD}") for p in saved if p not in places]
        raise ValueError(
            f"'{path}' holds {len(saved)} compressed layers, and this model has no "
            f"such layer for {', '.join(map(repr, lost[:5]))}. Build the model that "
            "was saved, with every layer built."
        )
    plans = {places[p]: text for p, text in contents.plans.items() if p in places}

    def stored(layer: keras.layers.Layer, plan: LayerPlan) -> LayerPlan | None:
        text = plans.get(layer)
        return None if text is None else _as_saved(plan, text, pruned[layer])

    targets = plan_of(model, recipe, pruned, stored)
    left_out = [
        layer
        for place, layer in walk_layers(model)
        if not pruned.get(layer, isinstance(layer, NORMS))
        or (isinstance(layer, NORMS) and survey.rulebook.settings(place).left_alone)
    ]
    state = state_of(model)
    if state is not None and state.begun:
        attach(model, recipe)
        return
    if state is not None:
        strip(model)
    attach_to(model, recipe, targets, left_out)


def _as_saved(plan: LayerPlan, text: bytes, masked: bool) -> LayerPlan:
    """Returns the plan of a layer with the methods that its file names."""
    try:
        return plan.with_saved(json.loads(text), masked)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"The file's plan of layer '{plan.path}' cannot be used: {error}"
        ) from error


def _unfit(survey: Survey, layer: keras.layers.Layer) -> bool:
    """Returns whether a layer cannot be what was saved compressed."""
    kernel = isinstance(layer, QUANTIZABLE)
    return not layer.built or (kernel and survey.why_untouched(layer) is not None)


class _Contents(NamedTuple):
    """What a weights file holds of ours.

    Attributes:
        recipes: the recipes, as JSON.
        layers: the path of each compressed layer's child -> whether it has a mask.
        plans: the same paths -> what the layer was compressed with, as JSON. Files
            of before plans have none.
    """

    recipes: list[bytes]
    layers: dict[str, bool]
    plans: dict[str, bytes]


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
    layers: dict[str, bool] = {}
    plans: dict[str, bytes] = {}

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        group = f"/{name}".rpartition("/vars/")[0]
        if group.endswith(f"/{CHILD}"):
            layers[group] = layers.get(group, False) or name.endswith("/mask")
            if name.endswith("/plan"):
                plans[group] = _text(name, item)
        if f"/{name}".endswith(_RECIPE):
            recipes.append(_text(name, item))

    weights.visititems(visit)
    return _Contents(recipes, layers, plans)


def _text(name: str, item: h5py.Dataset) -> bytes:
    if item.dtype.kind != "u" or item.nbytes > _TEXT_LIMIT:
        raise ValueError(f"'{name}' is no text")
    return item[()].tobytes()
