"""What the tests of `qsparse verify` do with a file and its model."""

import functools

import numpy as np

import qsparse
from qsparse.tflite_export import verify_file
from qsparse.tflite_export.files.model_file import ModelFile


@functools.cache
def loaded(path):
    return qsparse.load_model(path)


def verified(exports, name, path=None, data="test.npz", **arguments):
    archive = np.load(exports / data)
    return verify_file(
        loaded(exports / f"{name}.keras"),
        path or exports / f"{name}.tflite",
        archive["x"],
        archive.get("y"),
        **arguments,
    )


def exported_lsb(exports, name):
    """Return what the export itself measured at the output, on the same samples."""
    return round(float((exports / f"{name}.lsb").read_text()))


def damaged(exports, name, edit, tmp_path):
    """Copy a file and let `edit(file)` change constants in it."""
    file = ModelFile(exports / f"{name}.tflite")
    edit(file)
    path = tmp_path / "damaged.tflite"
    path.write_bytes(file.to_bytes())
    return path


def op_of(file, layer):
    """Return the op that computes a compressed layer, and its weights."""
    entry = next(e for e in file.metadata()["layers"] if e["path"] == layer)
    return next(
        (op, op.weights)
        for op in file.ops
        if op.weights is not None and op.weights.name == entry["tensor"]
    )


def shifted(exports, name, layer, steps, tmp_path):
    """Copy a file in which one channel of a layer comes out larger by some steps."""

    def shift(file):
        op, weights = op_of(file, layer)
        accumulated = op.inputs[0].scales[0] * weights.scales[3]
        op.inputs[2].data[3] += round(steps * op.outputs[0].scales[0] / accumulated)

    return damaged(exports, name, shift, tmp_path)
