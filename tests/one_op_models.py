"""The package's one-operator models and random weights, loaded without the package.

Kernel tests so need neither Keras nor an installed qsparse.
"""

import importlib.util
import pathlib
import sys

_FOLDER = pathlib.Path(__file__).parents[1] / "tflite_export"


def _load(name):
    spec = importlib.util.spec_from_file_location(
        f"{__name__}.{name}", _FOLDER / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


_models = _load("one_op_models")
ACTIVATIONS = _models.ACTIVATIONS
OneOpModel = _models.OneOpModel
conv2d_model = _models.conv2d_model
correlated_input = _models.correlated_input
fully_connected_model = _models.fully_connected_model
sparse_weights = _load("sparse_weights").sparse_weights
