"""The networks of `make bench-models`: random weights, random 4x4 masks, int8 files."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from qsparse.keras_compat import walk_layers
from qsparse.methods.patterns import Block
from qsparse.planning.layouts import kernel_layout
from qsparse.tflite_export.export import export

SPARSITY = 0.75
_SAMPLES = 8
_ONLY_INPUT = "input"


def resnet50() -> tuple[keras.Model, Any]:
    """Returns ResNet-50 at 224x224, and images."""
    images = synthetic_images(_SAMPLES)
    model = keras.applications.ResNet50(weights=None, classifier_activation=None)
    _prune(model)
    # Without statistics of its own data a random network dies within ten layers.
    norms = [
        layer
        for _, layer in walk_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for norm in norms:
        norm.momentum = 0.0
    model(images, training=True)
    return model, images


def vit_b16_backbone() -> keras.Model:
    """Returns ViT-B/16 at 224x224 without a head."""
    import keras_hub

    return keras_hub.models.ViTBackbone(
        image_shape=(224, 224, 3),
        patch_size=(16, 16),
        num_layers=12,
        num_heads=12,
        hidden_dim=768,
        mlp_dim=3072,
    )


def vit_b16() -> tuple[keras.Model, Any]:
    """Returns ViT-B/16 at 224x224, and images."""
    backbone = vit_b16_backbone()
    logits = keras.layers.Dense(1000)(backbone.output[:, 0])
    model = keras.Model(backbone.input, logits)
    _prune(model)
    return model, synthetic_images(_SAMPLES)


def minilm() -> tuple[keras.Model, Any]:
    """Returns a BERT of MiniLM's shape for 128 tokens, and token ids."""
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=30522,
        num_layers=6,
        num_heads=12,
        hidden_dim=384,
        intermediate_dim=1536,
        max_sequence_length=128,
    )
    model = keras.Model(backbone.input, backbone.output["sequence_output"])
    _prune(model)
    tokens = np.random.default_rng(0).integers(0, 30522, (_SAMPLES, 128))
    return model, {
        "token_ids": tokens.astype("int32"),
        "padding_mask": np.ones((_SAMPLES, 128), "int32"),
        "segment_ids": np.zeros((_SAMPLES, 128), "int32"),
    }


NETWORKS: dict[str, Callable[[], tuple[keras.Model, Any]]] = {
    "resnet50": resnet50,
    "vit_b16": vit_b16,
    "minilm": minilm,
}


def main(arguments: list[str] | None = None) -> int:
    """Writes the file of one network; returns the exit code.

    Args:
        arguments: command line without the program; None takes `sys.argv`.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument(
        "path", help="where to write, ending in .tflite; its inputs go beside it"
    )
    options = parser.parse_args(arguments)
    keras.utils.set_random_seed(0)
    model, data = NETWORKS[options.network]()
    report = export(model, options.path, data, calibration_samples=_SAMPLES)
    named = data if isinstance(data, dict) else {_ONLY_INPUT: data}
    np.savez(Path(options.path).with_suffix(".npz"), **named)
    print(f"{report.path}: {report.int8_share:.1%} of the MACs are int8")
    return 0


def _prune(model: keras.Model) -> None:
    """Zeroes random blocks of every kernel that 4x4 blocks fit on.

    What is left is scaled up, so that activations keep their variance.
    """
    rng = np.random.default_rng(0)
    pattern = Block((4, 4))
    for _, layer in walk_layers(model):
        layout = kernel_layout(layer)
        if layout is None or pattern.misfit(layout.canonical_shape):
            continue
        mask = pattern.mask(rng.random(layout.canonical_shape), SPARSITY)
        gain = (1 - SPARSITY) ** -0.5
        kernel = layer.kernel
        kernel.assign(np.asarray(kernel) * layout.kernel(mask) * gain)


def synthetic_images(count: int) -> np.ndarray:
    """Returns float32 (count, 224, 224, 3) with large structures and some noise."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(count, 14, 14, 3))
    smooth = keras.ops.image.resize(coarse, (224, 224), interpolation="bicubic")
    noise = rng.normal(size=(count, 224, 224, 3))
    return (np.asarray(smooth) + 0.3 * noise).astype("float32")


if __name__ == "__main__":
    sys.exit(main())
