"""How a weights file names layers."""

from typing import Any

import keras
from keras.src.saving import saving_lib
from keras.src.saving.keras_saveable import KerasSaveable
from keras.src.utils import naming


def saved_paths(model: keras.Model) -> list[tuple[str, keras.layers.Layer]]:
    """Returns `(path, layer)` of every layer, as a weights file names its group.

    Such a path is made of attributes, classes and counts, not of layer names: it is
    the same for another instance of the model. The walk is that of
    `saving_lib._save_state`.
    """
    found: list[tuple[str, keras.layers.Layer]] = []
    seen: set[int] = set()

    def visit(item: Any, path: str, containers: set[int]) -> None:
        if isinstance(item, KerasSaveable):
            if id(item) in seen:
                return
            seen.add(id(item))
            if isinstance(item, keras.layers.Layer):
                found.append((path, item))
            for attribute, child in saving_lib._walk_saveable(item):
                visit(child, f"{path}/{attribute}", set())
        elif isinstance(item, list | dict | tuple) and id(item) not in containers:
            containers.add(id(item))
            names: dict[str, int] = {}
            for child in item.values() if isinstance(item, dict) else item:
                if isinstance(child, KerasSaveable):
                    name = naming.to_snake_case(child.__class__.__name__)
                elif isinstance(child, list | dict | tuple):
                    name = "container"
                else:
                    continue
                name = saving_lib._get_unique_name(name, names)
                visit(child, f"{path}/{name}", containers)

    visit(model, "", set())
    return found
