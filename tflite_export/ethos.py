"""Whether a file obeys what the Ethos-U85 needs to skip zeros.

Arm's NPU computes int8 convolutions and fully connected layers at twice the rate if of
every four consecutive weights along the input channels at least two are zero. The
weights stay dense in the file; Vela, Arm's compiler, packs them.
"""

import numpy as np

from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.parity.trained import LayerMatch

TARGET = "ethos-u85"
_KEPT, _GROUP = 2, 4


def check_two_of_four(file: ModelFile, layers: list[LayerMatch]) -> list[str]:
    """Checks the int8 weights of every pruned layer.

    Args:
        file: the finished file.
        layers: what `restore` found in it.

    Returns:
        Paths of the pruned layers, all of which obey 2:4.

    Raises:
        ValueError: a pruned layer does not obey 2:4 along its input channels, or no
            layer is pruned; names the layers.
    """
    weights = {tensor.name: (op, tensor) for op, tensor in file.int8_layers()}
    obeying, violating = [], []
    for layer in layers:
        if layer.pattern is None or layer.tensor not in weights:
            continue
        op, tensor = weights[layer.tensor]
        if op.name == "DEPTHWISE_CONV_2D":
            violating.append(f"{layer.path!r} (depthwise)")
        elif _most_kept(tensor.data) > _KEPT:
            violating.append(f"{layer.path!r} ({layer.pattern})")
        else:
            obeying.append(layer.path)
    if violating:
        raise ValueError(
            f"target {TARGET!r} needs 2:4 sparsity along the input channels, which "
            f"these layers do not have: {', '.join(violating)}. Prune them with "
            "pattern NM(2, 4) or exclude them from pruning."
        )
    if not obeying:
        raise ValueError(
            f"target {TARGET!r} gains only from 2:4 sparsity, and no layer of this "
            "model is pruned. Train with pattern NM(2, 4), or leave target out."
        )
    return obeying


def _most_kept(weights: np.ndarray) -> int:
    """Returns the most nonzeros any group of four input channels holds."""
    kept = (weights != 0).reshape(-1, weights.shape[-1])
    kept = np.pad(kept, ((0, 0), (0, -weights.shape[-1] % _GROUP)))
    return int(kept.reshape(-1, _GROUP).sum(axis=1).max())
