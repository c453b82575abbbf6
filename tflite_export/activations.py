"""What the formats of a recipe mean for a file."""

from typing import Any

import keras

from qsparse.engine.state import compressions
from qsparse.methods.formats import name_of
from qsparse.tflite_export.files.precision import A16W8, INT8

_BY_BITS = {8: INT8, 16: A16W8}


def check_formats(model: keras.Model) -> None:
    """Checks that a file can hold what a model was trained in.

    Args:
        model: a model, compressed or not.

    Raises:
        ValueError: if a layer trains in a format that no file has.
    """
    for child in compressions(model):
        plan = child.plan
        for format in (plan.weight_format, plan.input_format, plan.output_format):
            if format is not None and not format.exportable:
                raise ValueError(
                    f"layer '{plan.path}' trains in {name_of(format)}, which cannot be "
                    "exported. Train weights and activations in integers, as by "
                    "format='int8'; qsparse.strip(model) goes back to float."
                )


def integer_precision(model: keras.Model) -> str:
    """Returns the precision of a file of integers.

    Args:
        model: a model, compressed or not; what is not trained in a format is int8.

    Raises:
        ValueError: some layers were trained with int8 activations and others with
            int16, or with a number of bits that no file has.
    """
    by_bits: dict[int, list[str]] = {}
    for child in compressions(model):
        layer: Any = child
        for format in (layer.plan.input_format, layer.plan.output_format):
            if format is not None:
                by_bits.setdefault(_bits(format), []).append(layer.plan.path)
    unknown = sorted(by_bits.keys() - _BY_BITS.keys())
    if unknown:
        raise ValueError(
            f"layer {by_bits[unknown[0]][0]!r} trains with activations of {unknown[0]} "
            f"bits; a file has {' or '.join(map(str, _BY_BITS))}. Correct the "
            "`activation_bits` of its format."
        )
    if len(by_bits) > 1:
        raise ValueError(
            f"layer {by_bits[16][0]!r} trains in a16w8 and layer {by_bits[8][0]!r} "
            "with int8 activations; a file has one of both. Give the recipe "
            "format='a16w8' and no rule another one for activations, or exclude those "
            "layers; "
            "dynamic_range=True and quantize=False write any mixture."
        )
    return _BY_BITS[next(iter(by_bits), 8)]


def _bits(format: Any) -> int:
    return int(getattr(format, "activation_bits", 8))
