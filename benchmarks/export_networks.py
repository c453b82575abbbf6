"""The networks of `make bench-export`, each with samples it can be calibrated on."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.memory import peak_bytes
from benchmarks.networks import synthetic_images, vit_b16_backbone
from qsparse.tflite_export.export import export
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.graph.run import runnable
from qsparse.tflite_export.parity.pairing import pair
from qsparse.tflite_export.verify import verify_file

SAMPLES = 16
TOKENS = 128
_VERIFIED = 4  # samples on which every op is compared
ONLY_INPUT = "input"


def resnet50() -> tuple[keras.Model, Any]:
    """Returns keras-hub's ResNet-50 with random weights, and synthetic images."""
    import keras_hub

    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="bottleneck_block",
        image_shape=(224, 224, 3),
    )
    model = keras_hub.models.ResNetImageClassifier(backbone, num_classes=1000)
    return model, synthetic_images(SAMPLES)


def vit_b16() -> tuple[keras.Model, Any]:
    """Returns keras-hub's ViT-B/16 with random weights, and synthetic images."""
    import keras_hub

    model = keras_hub.models.ViTImageClassifier(vit_b16_backbone(), num_classes=1000)
    return model, synthetic_images(SAMPLES)


def minilm() -> tuple[keras.Model, Any]:
    """Returns the pretrained MiniLM for 128 tokens, and sentences on films."""
    from qsparse.recipes.minilm import encoder, tokenize
    from qsparse.recipes.movie_sentences import load_split

    sentences, _ = load_split(SAMPLES, 1)
    return encoder(TOKENS), tokenize(sentences.texts, TOKENS)


def mobilenet_v2() -> tuple[keras.Model, Any]:
    """Returns the pretrained MobileNetV2 of keras.applications, and photos."""
    from qsparse.recipes.mobilenet_v2 import mobilenet_v2, normalize
    from qsparse.recipes.photos import load_crops

    return mobilenet_v2(), normalize(load_crops(SAMPLES))


def efficientnet_lite0() -> tuple[keras.Model, Any]:
    """Returns the pretrained EfficientNet-Lite0, and photos."""
    from qsparse.recipes.efficientnet_lite import efficientnet_lite0, normalize
    from qsparse.recipes.photos import load_crops

    return efficientnet_lite0(), normalize(load_crops(SAMPLES))


NETWORKS: dict[str, Callable[[], tuple[keras.Model, Any]]] = {
    "resnet50": resnet50,
    "vit_b16": vit_b16,
    "minilm": minilm,
    "mobilenet_v2": mobilenet_v2,
    "efficientnet_lite0": efficientnet_lite0,
}


def main(arguments: list[str] | None = None) -> int:
    """Writes the file of one network; returns the exit code.

    What the export reported, its time and the memory this process took at most go
    beside the file as .json, the samples as .npz; the outputs of `--forward` as
    .forward.npy, what `--verify` finds as .verify.json.

    Args:
        arguments: command line without the program; None takes `sys.argv`.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("path", type=Path, help="where to write, ending in .tflite")
    parser.add_argument(
        "--forward",
        action="store_true",
        help="only run the graph of a file that was written before",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare that file with its network, op by op, and with that run",
    )
    options = parser.parse_args(arguments)
    keras.utils.set_random_seed(0)
    model, data = NETWORKS[options.network]()
    if options.forward:
        np.save(_forward_path(options.path), _forward(model, options.path, data))
        return 0
    if options.verify:
        found = _verify(model, options.path, data)
        options.path.with_suffix(".verify.json").write_text(json.dumps(found))
        return 0
    report = export(model, options.path, data, calibration_samples=SAMPLES)
    found = report.to_dict() | {"peak_bytes": peak_bytes()}
    options.path.with_suffix(".json").write_text(json.dumps(found))
    named = data if isinstance(data, dict) else {ONLY_INPUT: data}
    np.savez(options.path.with_suffix(".npz"), **named)
    return 0


def _verify(model: keras.Model, path: Path, data: Any) -> dict[str, Any]:
    """Returns how far each op is off that reads what the file gave it."""
    found = verify_file(model, path, data, samples=_VERIFIED)
    local = [tensor.local for tensor in found.tensors if tensor.op != "input"]
    steps = np.abs(_forward(model, path, data) - np.load(_forward_path(path)))
    return {
        "tensors_compared": len(local),
        "max_lsb_of_one_op": max(difference.max_lsb for difference in local),
        "mean_lsb_of_one_op": float(np.mean([each.mean_lsb for each in local])),
        "failures": found.failures,
        "graph_against_itself": {
            "max_lsb": float(steps.max()),
            "off_by_more_than_1": float(np.mean(steps > 1.5)),
        },
    }


def _forward(model: keras.Model, path: Path, data: Any) -> np.ndarray:
    """Returns the output of the fake-quantized graph, in steps of its scale."""
    file = ModelFile(path)
    both = pair(model, file, data, SAMPLES)
    function = runnable(both.graph)
    batches = [function(*batch) for batch in both.samples.batches]
    found = np.concatenate([next(iter(outputs.values())) for outputs in batches])
    return found / file.outputs[0].scales[0]


def _forward_path(path: Path) -> Path:
    return path.with_suffix(".forward.npy")


if __name__ == "__main__":
    sys.exit(main())
