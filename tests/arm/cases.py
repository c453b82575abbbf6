"""One-operator models for the guest, as files: the shapes kernels may stumble over."""

import numpy as np

from benchmarks import one_op_models as models
from benchmarks.sparse_weights import sparse_weights

PATTERNS = [
    ("dense", 1.0),
    ("4x4", 0.3),
    ("1:4 4x4", 0.25),
    ("2:4", 0.5),
    ("unstructured", 0.2),
]
# Rows, inputs and outputs; every number of rows up to a tile and one more.
SHAPES = [(m, 96, 64) for m in range(1, 18)] + [
    (5, 37, 30),
    (17, 6, 3),
    (33, 130, 66),
    (100, 64, 257),
    (7, 1024, 40),
    (96, 3, 64),
    (31, 65, 1),
    (64, 768, 256),
]
# Height, width, channels, outputs, kernel, stride, padding.
CONVOLUTIONS = [
    (14, 14, 64, 64, 3, 1, "same"),
    (14, 15, 64, 64, 3, 2, "same"),
    (15, 14, 32, 20, 3, 2, "same"),
    (14, 14, 64, 64, 3, 1, "valid"),
    (15, 15, 16, 16, 3, 2, "valid"),
    (28, 28, 1, 16, 3, 1, "same"),
    (28, 28, 3, 16, 5, 2, "same"),
    (7, 7, 13, 9, 5, 1, "same"),
    (14, 14, 4, 8, 2, 1, "same"),
    (30, 2, 16, 8, 5, 1, "same"),
    (1, 1, 16, 64, 3, 1, "same"),
    (8, 9, 64, 128, 1, 1, "same"),
    (8, 9, 64, 128, 1, 2, "same"),
    (10, 9, 4, 8, 4, 2, "same"),
    (9, 9, 4, 8, 2, 3, "same"),
]
# For the kernels that take any pattern: what fills their entries and what does not.
FINE_PATTERNS = [
    ("2:8", 0.25),
    ("4:16", 0.25),
    ("16:64", 0.25),
    ("8:64", 0.125),
    ("4:64", 0.06),
    ("16x4", 0.3),
    ("unstructured", 0.05),
]
ZERO_POINTS = [(-128, -128), (127, 127), (0, 0), (-128, 60)]
ACTIVATIONS = ["relu", "relu6", "relu_n1_to_1"]

# Two products of -128 and -128 overflow the 16-bit sums of plain NEON.
LOWEST_WEIGHTS = "fc_minus_128"


def kernel_isa(name, isa):
    """The ISA whose kernel takes a case when `isa` is forced."""
    return "portable" if (name, isa) == (LOWEST_WEIGHTS, "neon") else isa


def fully_connected():
    for m, k, n in SHAPES:
        weights = sparse_weights((n, k), "4x4", 0.5, seed=m)
        yield f"fc_{m}x{k}x{n}", models.fully_connected_model(weights, m)
    for m in (1, 16, 37):
        for pattern, density in PATTERNS:
            weights = sparse_weights((64, 96), pattern, density)
            name = f"fc_{m}_{pattern.replace(':', '_')}"
            yield name, models.fully_connected_model(weights, m)


def fine():
    for m in (1, 7, 23):
        for pattern, density in FINE_PATTERNS:
            weights = sparse_weights((72, 192), pattern, density, seed=m)
            name = f"fc_{m}_fine_{pattern.replace(':', '_')}"
            yield name, models.fully_connected_model(weights, m)
    for n in range(1, 20):
        weights = sparse_weights((n, 70), "unstructured", 0.4, seed=n)
        yield f"fc_outputs_{n}", models.fully_connected_model(weights, 9)
    # Output n has n nonzeros in every window of 64.
    stairs = sparse_weights((65, 128), "dense")
    stairs *= np.tile(np.arange(64) < np.arange(65)[:, None], 2)
    yield "fc_stairs", models.fully_connected_model(stairs, 11)
    yield "fc_stairs_down", models.fully_connected_model(stairs[::-1, ::-1].copy(), 11)
    for i, shape in enumerate([(33, 3, 3, 70), (40, 5, 5, 3), (24, 1, 1, 130)]):
        weights = sparse_weights(shape, "unstructured", 0.3)
        for stride in (1, 2):
            model = models.conv2d_model(weights, 7, 9, batch=2, stride=stride)
            yield f"conv_fine_{i}_stride_{stride}", model


def least_values(name):
    """How many different values the outputs of a case have, at least."""
    outputs = name.removeprefix("fc_outputs_")
    return min(9, 3 * int(outputs)) if outputs.isdigit() else 9


def convolutions():
    for i, (height, width, channels, outputs, kernel, stride, padding) in enumerate(
        CONVOLUTIONS
    ):
        shape = (outputs, kernel, kernel, channels)
        weights = sparse_weights(shape, "4x4", 0.5)
        for batch in (1, 3):
            yield (
                f"conv_{i}_batch_{batch}",
                models.conv2d_model(
                    weights, height, width, batch=batch, stride=stride, padding=padding
                ),
            )


def clamps():
    weights = sparse_weights((48, 64), "4x4", 0.4)
    kernels = sparse_weights((16, 3, 3, 20), "4x4", 0.5)
    for i, o in ZERO_POINTS:
        chosen = {"input_zero_point": i, "output_zero_point": o}
        yield f"fc_zero_{i}_{o}", models.fully_connected_model(weights, 20, **chosen)
        yield f"conv_zero_{i}_{o}", models.conv2d_model(kernels, 7, 7, **chosen)
    for activation in ACTIVATIONS:
        chosen = {"activation": activation}
        yield f"fc_{activation}", models.fully_connected_model(weights, 20, **chosen)
        yield f"conv_{activation}", models.conv2d_model(kernels, 9, 8, **chosen)


def variants():
    weights = sparse_weights((24, 32), "4x4", 0.5)
    for name, chosen in (
        ("per_tensor", {"per_channel": False}),
        ("no_bias", {"bias": False}),
        ("leading", {"leading": (2, 3, 5)}),
    ):
        yield f"fc_{name}", models.fully_connected_model(weights, 18, **chosen)
    empty = sparse_weights((16, 32), "dense")
    empty[4:12] = 0
    yield "fc_empty_groups", models.fully_connected_model(empty, 20)
    lowest = sparse_weights((32, 64), "4x4", 0.5)
    lowest[lowest < -60] = -128
    yield LOWEST_WEIGHTS, models.fully_connected_model(lowest, 20)


def write(folder):
    """Writes every case; returns their names."""
    names = []
    for family in (fully_connected, fine, convolutions, clamps, variants):
        for name, model in family():
            assert name not in names, name
            names.append(name)
            (folder / f"{name}.tflite").write_bytes(model.content)
            np.save(folder / f"{name}.npy", model.input())
    return names
