"""A model that is changed for a while, and given back as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

from qsparse.keras_compat import sync_variables


@contextmanager
def given_back(model: keras.Model) -> Iterator[None]:
    """Gives a model back as it was, whatever happens meanwhile.

    On JAX a batch that is broken off leaves the state of an earlier one behind, which
    the next `fit` would go on with.
    """
    variables = {id(v): v for v in (*model.variables, *model.metrics_variables)}
    before = [(v, np.array(v.numpy())) for v in variables.values()]
    try:
        yield
    finally:
        sync_variables(model)
        model.reset_metrics()  # Some may have been built meanwhile.
        for variable, value in before:
            variable.assign(value)
