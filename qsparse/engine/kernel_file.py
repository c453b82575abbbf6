"""What a file holds of the kernel of a compressed layer."""

import json
from typing import Any

import numpy as np


def save(layer: Any, store: Any) -> None:
    """Stores the dense master: the layer itself saves its effective kernel.

    Layout and methods go with it, so that a file can be read without the model.

    Args:
        layer: the `KernelCompression`.
        store: as of `keras.layers.Layer.save_own_variables`.
    """
    store["kernel"] = layer.master_variable
    store["order"] = np.array(layer.layout.order)
    store["canonical_shape"] = np.array(layer.layout.canonical_shape)
    text = json.dumps(layer.plan.to_dict()).encode()
    store["plan"] = np.frombuffer(text, dtype=np.uint8)
    if layer.mask_variable is not None:
        store["mask"] = layer.mask_variable
    sums = {} if layer.gradient_sums is None else layer.gradient_sums.values()
    for name, value in sums.items():
        store[name] = value
    selects_again = float(layer.state().progress.numpy()) < 1.0
    if layer.ranking.found is not None and selects_again:
        store["scores"] = layer.ranking.found


def load(layer: Any, store: Any) -> None:
    """Restores master and mask; a dense checkpoint has neither.

    Args:
        layer: the `KernelCompression`.
        store: as of `keras.layers.Layer.load_own_variables`.
    """
    if "kernel" in store:
        layer.master_variable.assign(store["kernel"])
    if "mask" in store and layer.mask_variable is not None:
        layer.mask_variable.assign(store["mask"])
    if layer.gradient_sums is not None:
        for name in layer.gradient_sums.variables:
            if name in store:
                layer.gradient_sums.put(name, store[name])
    if "scores" in store and layer.mask_variable is not None:
        layer.ranking.found = np.asarray(store["scores"])
