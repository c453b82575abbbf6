"""qsparse: prune and quantize Keras 3 models, and run them faster.

```python
import qsparse
from qsparse.callbacks import PruneThenQuantize

model.fit(x, y, epochs=10, callbacks=[PruneThenQuantize()])
report = qsparse.export(model, "model.tflite", representative_data=x[:200])
```
"""

from importlib import import_module
from typing import Any

from qsparse.compressor import attach, strip
from qsparse.estimators import SRSTE, STE, Masked
from qsparse.patterns import NM, Block, Unstructured
from qsparse.recipe import Recipe
from qsparse.report import Coverage, coverage
from qsparse.saving import load_model, load_weights
from qsparse.schedules import Constant, Cubic, OneShot

__version__ = "0.1.0"

__all__ = [
    "NM",
    "SRSTE",
    "STE",
    "Block",
    "Constant",
    "Coverage",
    "Cubic",
    "Masked",
    "OneShot",
    "Recipe",
    "Unstructured",
    "attach",
    "coverage",
    "export",
    "load_model",
    "load_weights",
    "strip",
]

# Names that need TensorFlow are imported when they are first used.
_LAZY = {"export": "qsparse.tflite_export.export"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'qsparse' has no attribute {name!r}")
