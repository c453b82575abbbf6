"""qsparse: prune and quantize Keras 3 models, and run them faster.

```python
import qsparse
from qsparse.callbacks import PruneThenQuantize

model.fit(x, y, epochs=10, callbacks=[PruneThenQuantize()])
report = qsparse.export(model, "model.tflite", representative_data=x[:200])
```

Every public name is imported when it is first used, so that the runtime and the
command line start without Keras and TensorFlow; the packages `qsparse.callbacks`,
`qsparse.recipes` and `qsparse.tflite_export` too.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qsparse.engine.compressor import attach, strip
    from qsparse.engine.coverage import Coverage, coverage
    from qsparse.engine.phases import unfinished
    from qsparse.methods import register
    from qsparse.methods.allocations import Uniform
    from qsparse.methods.criteria import Magnitude, Saliency
    from qsparse.methods.estimators import SRSTE, STE, Masked
    from qsparse.methods.formats import Int8
    from qsparse.methods.observers import MovingAverage
    from qsparse.methods.patterns import NM, Block, Unstructured
    from qsparse.methods.schedules import Constant, Cubic, OneShot
    from qsparse.oneshot import OneShotReport, one_shot
    from qsparse.planning.plan import LayerPlan, resolve
    from qsparse.planning.recipe import Recipe
    from qsparse.saving import load_model, load_weights
    from qsparse.tflite_export.export import export

__version__ = "0.1.0"

__all__ = [
    "NM",
    "SRSTE",
    "STE",
    "Block",
    "Constant",
    "Coverage",
    "Cubic",
    "Int8",
    "LayerPlan",
    "Magnitude",
    "Masked",
    "MovingAverage",
    "OneShot",
    "OneShotReport",
    "Recipe",
    "Saliency",
    "Uniform",
    "Unstructured",
    "attach",
    "coverage",
    "export",
    "load_model",
    "load_weights",
    "one_shot",
    "register",
    "resolve",
    "strip",
    "unfinished",
]

_MODULES = {
    "engine.compressor": ("attach", "strip"),
    "methods.criteria": ("Magnitude", "Saliency"),
    "methods.estimators": ("SRSTE", "STE", "Masked"),
    "methods": ("register",),
    "methods.allocations": ("Uniform",),
    "methods.formats": ("Int8",),
    "methods.observers": ("MovingAverage",),
    "methods.patterns": ("NM", "Block", "Unstructured"),
    "engine.phases": ("unfinished",),
    "oneshot": ("OneShotReport", "one_shot"),
    "planning.plan": ("LayerPlan", "resolve"),
    "planning.recipe": ("Recipe",),
    "engine.coverage": ("Coverage", "coverage"),
    "saving": ("load_model", "load_weights"),
    "methods.schedules": ("Constant", "Cubic", "OneShot"),
    "tflite_export.export": ("export",),
}
_HOMES = {name: home for home, names in _MODULES.items() for name in names}
_PACKAGES = ("callbacks", "recipes", "tflite_export")


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"qsparse.{name}")
    if name not in _HOMES:
        # With its name and place, Python adds what it may have been meant to be.
        raise AttributeError(
            f"module 'qsparse' has no attribute {name!r}",
            name=name,
            obj=sys.modules[__name__],
        )
    return getattr(import_module(f"qsparse.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})
