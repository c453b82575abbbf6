"""One way through all that a recipe goes through: `run_compression_test`.

`cases()` makes recipes of every method that is registered, so a new one is taken up
without a line, as long as it has defaults and goes with one of `BASES`.
"""

import json
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace

import keras
import numpy as np
from keras import layers

import qsparse
from qsparse.callbacks import Compress
from qsparse.engine.compressor import compressed_layers, state_of
from qsparse.methods import REGISTRIES
from qsparse.methods.allocations import holds_total
from qsparse.methods.criteria import STATISTICS, needs_of

EPOCHS, STEPS, ROWS = 4, 5, 16
# Dense steps, then masks, then int8 for the rest: each selection and switch falls into
# another epoch than the one that a file is written after, or into the same.
_TIMES = {"prune_from": 0.2, "prune_until": 0.65, "quantize_from": 0.4}
# What goes with one another; the first that a method does not refuse is taken.
BASES = (
    qsparse.Recipe("unstructured", 0.5, update_every=2, **_TIMES),
    qsparse.Recipe("2:4", update_every=2, **_TIMES),
    qsparse.Recipe("unstructured", 0.5, estimator="ste", update_every=2, **_TIMES),
    qsparse.Recipe("unstructured", 0.25, update_every=2, **_TIMES),
)
# Methods that no name makes, as they have no defaults, and more of some than defaults.
EXAMPLES = {
    ("allocation", "sensitivity"): lambda: qsparse.Sensitivity(
        (
            ("hidden", ((0.25, 0.0), (0.75, 0.5))),
            ("head", ((0.25, 0.1), (0.75, 0.9))),
        )
    ),
    ("pattern", "nm"): lambda: qsparse.NM(2, 4),
    ("schedule", "sampled"): lambda: qsparse.Recipe(schedule=lambda p: p * p).schedule,
}
MORE = {
    "pattern": ("2:4 of 4x4", "1:4", "4x1"),
    "criterion": (qsparse.Fisher("optimizer"), qsparse.BlockFisher(8, 1e-3)),
    "schedule": (qsparse.SdGf("geometric"), qsparse.Cubic(0.3)),
}


def perceptron():
    """Return a plain classifier of 16 pixels."""
    hidden = layers.Dense(16, activation="relu", name="hidden")
    head = layers.Dense(12, name="head", dtype="float32")
    return keras.Sequential([keras.Input((16,)), hidden, head], name="model")


def network():
    """Return a plain classifier of 4x4 pixels, with what a perceptron lacks."""
    x = inputs = keras.Input((4, 4, 1))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    y = layers.Conv2D(8, 3, padding="same", name="hidden")(x)
    x = layers.Flatten()(layers.Add()([x, y]))
    head = layers.Dense(12, name="head", dtype="float32")
    return keras.Model(inputs, head(x), name="model")


MODELS = {"perceptron": perceptron, "network": network}


@dataclass(frozen=True)
class Case:
    """A recipe for one of `MODELS`."""

    recipe: qsparse.Recipe
    model: str = "perceptron"

    def make(self, policy="float32"):
        """Return the model, compiled, with weights that hang on nothing else."""
        keras.config.set_dtype_policy(policy)
        try:
            model = MODELS[self.model]()
        finally:
            keras.config.set_dtype_policy("float32")
        rng = np.random.default_rng(7)
        for variable in model.trainable_variables:
            variable.assign(rng.normal(size=variable.shape) / 3)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        # Compiling by XLA is most of the time of a short training on TensorFlow.
        jit = keras.backend.backend() == "jax"
        optimizer = keras.optimizers.Adam(1e-2, name="adam")
        model.compile(optimizer, loss, jit_compile=jit)
        return model

    def data(self):
        """Return `(x, y)`: the labels follow from the pixels."""
        rng = np.random.default_rng(3)
        x = rng.normal(size=(STEPS * ROWS, 16)).astype(np.float32)
        y = (x @ rng.normal(size=(16, 12))).argmax(axis=1)
        return (x if self.model == "perceptron" else x.reshape(-1, 4, 4, 1)), y

    def callback(self):
        """Return the callback, with data if the criterion cannot do without."""
        return Compress(
            self.recipe,
            total_epochs=EPOCHS,
            score_data=self.data() if _needs_data(self.recipe) else None,
        )


def _needs_data(recipe):
    needs = [STATISTICS[name] for name in needs_of(recipe.criterion)]
    return any(known.from_data and not known.from_steps for known in needs)


# --- recipes --------------------------------------------------------------------------


def methods(kind):
    """Return an instance of every method of a kind, as a recipe takes it, by name."""
    registry, found = REGISTRIES[kind], {}
    for name in sorted(registry.classes):
        example = EXAMPLES.get((kind, name))
        found[name] = registry.get(name) if example is None else example()
    for each in MORE.get(kind, ()):
        found[str(each)] = registry.get(each)
    return found


def _changed(recipe, **settings):
    """Return a recipe with other methods, at the sparsity that its pattern has."""
    fixed = hasattr(settings.get("pattern", recipe.pattern), "n")
    return replace(recipe, sparsity=None if fixed else recipe.sparsity, **settings)


def refusal(case):
    """Return why a model does not take all of a recipe, or None."""
    model = case.make()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            qsparse.attach(model, case.recipe)
    except ValueError as error:
        assert state_of(model) is None
        assert type(model.get_layer("hidden")).__module__.startswith("keras.")
        return str(error)
    except UserWarning as shortage:
        return str(shortage)
    return None


def one_method(kind, name, model="perceptron"):
    """Return the case of one method on the first base that it goes with.

    Raises:
        AssertionError: if it goes with none.
    """
    reasons = []
    for base in BASES:
        case = Case(_changed(base, **{kind: methods(kind)[name]}), model)
        reasons.append(refusal(case))
        if reasons[-1] is None:
            return case
    raise AssertionError(f"{kind} {name} goes with no base: {reasons}")


def drawn(seed):
    """Return the first case of random methods that fit, and the refusals before it."""
    rng = np.random.default_rng(seed)
    reasons = []
    for _ in range(100):
        settings = {}
        for kind in sorted(REGISTRIES):
            known = list(methods(kind).values())
            settings[kind] = known[rng.integers(len(known))]
        if rng.random() < 0.6:
            settings["regrowth"] = None
        settings["order"] = ["S->Q", "Q->S"][rng.integers(2)]
        case = Case(_changed(BASES[0], **settings), list(MODELS)[rng.integers(2)])
        reasons.append(refusal(case))
        if reasons[-1] is None:
            return case, reasons[:-1]
    raise AssertionError(f"nothing fits: {reasons}")


EVERY = [
    (kind, name) for kind in sorted(REGISTRIES) for name in methods(kind)
]  # of what is registered where this is imported


# --- the way --------------------------------------------------------------------------


@contextmanager
def _quiet():
    """Trainings of few steps are told so, and a file in the middle of one."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for message in (
            ".*__array__ implementation",
            "Training makes .* steps from where",
            ".*(has not ended|ends before|before it was carried|not carried out)",
        ):
            warnings.filterwarnings("ignore", message)
        yield


def fit(model, case, first=0, beside=()):
    """Train to the end, from an epoch on."""
    settings = {"batch_size": ROWS, "verbose": 0, "shuffle": False, "epochs": EPOCHS}
    callbacks = [case.callback(), *beside]
    return model.fit(
        *case.data(), callbacks=callbacks, initial_epoch=first, **settings
    ).history


def values(model):
    """Return all that a model and its optimizer hold, by path and place."""
    found = {}
    for variable in (*model.variables, *model.optimizer.variables):
        path = variable.path.replace(f"{model.name}/", "").replace("model_", "")
        same = sum(path == key for key, _ in found)
        found[path, same] = np.array(variable.numpy())
    return found


def assert_equal(ours, theirs):
    """Compare two models bit for bit, with their masks."""
    mine, others = values(ours), values(theirs)
    assert sorted(mine) == sorted(others)
    for key, value in mine.items():
        np.testing.assert_array_equal(others[key], value, err_msg=str(key))


def assert_carried_out(model, case):
    """Check counts, patterns and zeros of a model that was trained to the end."""
    assert qsparse.unfinished(model) is None
    recipe, zeros, weights, units = case.recipe, 0, 0, 0
    for layer in compressed_layers(model):
        mask, plan = layer.canonical_mask(), layer.plan
        if mask is None:
            continue
        share = 1.0 - mask.mean()
        kernel = layer.layout.canonical(np.asarray(layer.effective_kernel()))
        assert np.isfinite(kernel).all() and (kernel[~mask] == 0).all()
        # A mask is one of the pattern's: nothing is selected anew by it.
        again = plan.pattern.mask(mask.astype(np.float32), plan.sparsity or share)
        if not holds_total(recipe.allocation):
            np.testing.assert_array_equal(again, mask)
        unit, most, fixed = plan.capacity
        assert share <= most + 1e-9 and (fixed is None or abs(share - fixed) < 1e-9)
        zeros, weights = zeros + (~mask).sum(), weights + mask.size
        units += unit
    assert weights and abs(zeros - recipe.sparsity * weights) <= units
    assert state_of(model).fake_quantizes == recipe.quantizes


def run_compression_test(case, folder, policies=("mixed_float16",)):
    """Take a model through all there is: build, JSON, training, files, strip, export.

    Args:
        case: recipe and model.
        folder: for files.
        policies: what it is trained in beside float32.
    """
    recipe = case.recipe
    assert qsparse.Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    x, _ = case.data()
    with _quiet():
        whole = case.make()
        assert "hidden" in str(qsparse.preview(whole, recipe))
        each = keras.callbacks.ModelCheckpoint(str(folder / "{epoch}.keras"))
        history = fit(whole, case, beside=[each])
        assert np.isfinite(history["loss"]).all()
        assert_carried_out(whole, case)

        resumed = qsparse.load_model(folder / "2.keras")
        fit(resumed, case, first=2)
        assert_equal(whole, resumed)

        loaded = qsparse.load_model(folder / f"{EPOCHS}.keras")
        plans = [[c.plan for c in compressed_layers(m)] for m in (whole, loaded)]
        assert plans[0] == plans[1]
        np.testing.assert_array_equal(np.asarray(loaded(x)), np.asarray(whole(x)))

        for policy in policies:
            other = case.make(policy)
            assert np.isfinite(fit(other, case)["loss"]).all()
            assert_carried_out(other, case)
    _export(whole, x, folder)
    _strip(whole)


def _export(model, x, folder):
    """Write a file that keeps every zero; or be refused, in words."""
    path = folder / "m.tflite"
    formats = [c.plan.weight_format for c in compressed_layers(model)]
    refused = None
    if keras.backend.backend() != "tensorflow":
        refused = "set KERAS_BACKEND=tensorflow"
    elif not all(f is None or f.exportable for f in formats):
        refused = "cannot be exported"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            qsparse.export(model, path, x)
        except ValueError as error:
            assert refused is not None and refused in str(error), error
            return
    assert refused is None
    from qsparse.tflite_export.files.model_file import ModelFile

    pruned = [c for c in compressed_layers(model) if c.mask_variable is not None]
    zeros = sum(int((~c.canonical_mask()).sum()) for c in pruned)
    found = [op.weights.data for op in ModelFile(path).ops if op.weights is not None]
    assert sum(int((np.asarray(w) == 0).sum()) for w in found) >= zeros > 0


def _strip(model):
    masks = {
        c.path_in_model: c.mask_variable.numpy()
        for c in compressed_layers(model)
        if c.mask_variable is not None
    }
    qsparse.strip(model)
    assert state_of(model) is None and type(model.optimizer) is keras.optimizers.Adam
    for path, mask in masks.items():
        layer = model.get_layer(path)
        assert type(layer).__module__.startswith("keras.")
        assert (layer.kernel.numpy()[~mask] == 0).all()
