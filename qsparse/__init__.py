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
    from qsparse.distillation import Distiller, distill
    from qsparse.distillation_losses import SoftLabels, SquareHead
    from qsparse.engine.compressor import attach, strip
    from qsparse.engine.coverage import Coverage, coverage, preview
    from qsparse.engine.phases import unfinished
    from qsparse.measures.compressibility import Compressibility, PQReport, pq_index
    from qsparse.measures.forecast import forecast
    from qsparse.measures.forecast_report import Forecast
    from qsparse.measures.interaction import analyse
    from qsparse.measures.interaction_report import InteractionReport
    from qsparse.measures.landing import landed
    from qsparse.measures.landing_report import Landing
    from qsparse.measures.perturbation import sensitivity
    from qsparse.measures.perturbation_report import SensitivityReport
    from qsparse.methods import register
    from qsparse.methods.allocations import (
        ERK,
        LAMP,
        Global,
        Sensitivity,
        Uniform,
        UniformPlus,
    )
    from qsparse.methods.criteria import (
        SNIP,
        BlockFisher,
        Fisher,
        Magnitude,
        Movement,
        Random,
        Saliency,
        Wanda,
    )
    from qsparse.methods.estimators import (
        CAST,
        SRSTE,
        STE,
        DecayingMask,
        DecoupledSRSTE,
        Masked,
        SoftShrinkage,
    )
    from qsparse.methods.formats import (
        HBFP,
        MX,
        BlockInt,
        FewBits,
        Int8,
        Int16x8,
        IntN,
        LearnedInt,
    )
    from qsparse.methods.observers import (
        LSQ,
        LeastError,
        MinMax,
        MovingAverage,
        Percentile,
    )
    from qsparse.methods.patterns import NM, Block, Unstructured
    from qsparse.methods.regrowth import SET, RigL
    from qsparse.methods.schedules import (
        Constant,
        Cosine,
        Cubic,
        Linear,
        OneShot,
        Sampled,
        SdGf,
        Stepwise,
    )
    from qsparse.oneshot import OneShotReport, one_shot
    from qsparse.planning.plan import LayerPlan, resolve
    from qsparse.planning.recipe import Recipe
    from qsparse.planning.rules import Rule
    from qsparse.saving import load_model, load_weights
    from qsparse.tflite_export.export import export

__version__ = "0.1.0"

__all__ = [
    "Block",
    "BlockFisher",
    "BlockInt",
    "CAST",
    "Compressibility",
    "Constant",
    "Cosine",
    "Coverage",
    "Cubic",
    "DecayingMask",
    "DecoupledSRSTE",
    "Distiller",
    "ERK",
    "FewBits",
    "Fisher",
    "Forecast",
    "Global",
    "HBFP",
    "Int8",
    "Int16x8",
    "IntN",
    "InteractionReport",
    "LAMP",
    "LSQ",
    "Landing",
    "LayerPlan",
    "LearnedInt",
    "LeastError",
    "Linear",
    "MX",
    "Magnitude",
    "Masked",
    "MinMax",
    "Movement",
    "MovingAverage",
    "NM",
    "OneShot",
    "OneShotReport",
    "PQReport",
    "Percentile",
    "Random",
    "Recipe",
    "RigL",
    "Rule",
    "SET",
    "SNIP",
    "SRSTE",
    "STE",
    "Saliency",
    "Sampled",
    "SdGf",
    "Sensitivity",
    "SensitivityReport",
    "SoftLabels",
    "SoftShrinkage",
    "SquareHead",
    "Stepwise",
    "Uniform",
    "UniformPlus",
    "Unstructured",
    "Wanda",
    "analyse",
    "attach",
    "coverage",
    "distill",
    "export",
    "forecast",
    "landed",
    "load_model",
    "load_weights",
    "one_shot",
    "pq_index",
    "preview",
    "register",
    "resolve",
    "sensitivity",
    "strip",
    "unfinished",
]

_MODULES = {
    "engine.compressor": ("attach", "strip"),
    "methods.criteria": (
        "SNIP",
        "BlockFisher",
        "Fisher",
        "Magnitude",
        "Movement",
        "Random",
        "Saliency",
        "Wanda",
    ),
    "methods.estimators": (
        "SRSTE",
        "STE",
        "DecayingMask",
        "Masked",
        "CAST",
        "DecoupledSRSTE",
        "SoftShrinkage",
    ),
    "methods.regrowth": ("SET", "RigL"),
    "methods": ("register",),
    "methods.allocations": (
        "Uniform",
        "ERK",
        "LAMP",
        "Global",
        "Sensitivity",
        "UniformPlus",
    ),
    "methods.formats": (
        "HBFP",
        "MX",
        "BlockInt",
        "FewBits",
        "Int8",
        "Int16x8",
        "IntN",
        "LearnedInt",
    ),
    "methods.observers": (
        "LSQ",
        "LeastError",
        "MinMax",
        "MovingAverage",
        "Percentile",
    ),
    "methods.patterns": ("NM", "Block", "Unstructured"),
    "engine.phases": ("unfinished",),
    "planning.plan": ("LayerPlan", "resolve"),
    "planning.recipe": ("Recipe",),
    "planning.rules": ("Rule",),
    "engine.coverage": ("Coverage", "coverage", "preview"),
    "saving": ("load_model", "load_weights"),
    "methods.schedules": (
        "Constant",
        "Cubic",
        "OneShot",
        "Cosine",
        "Linear",
        "Sampled",
        "SdGf",
        "Stepwise",
    ),
    "tflite_export.export": ("export",),
    "measures.forecast": ("forecast",),
    "measures.forecast_report": ("Forecast",),
    "measures.interaction": ("analyse",),
    "measures.interaction_report": ("InteractionReport",),
    "measures.landing": ("landed",),
    "measures.landing_report": ("Landing",),
    "measures.perturbation": ("sensitivity",),
    "measures.perturbation_report": ("SensitivityReport",),
    "oneshot": ("OneShotReport", "one_shot"),
    "distillation": ("Distiller", "distill"),
    "distillation_losses": ("SoftLabels", "SquareHead"),
    "measures.compressibility": ("Compressibility", "PQReport", "pq_index"),
}
_HOMES = {name: home for home, names in _MODULES.items() for name in names}
_PACKAGES = ("analysis", "callbacks", "recipes", "tflite_export")


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
