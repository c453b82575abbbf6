"""The one file that touches the private API of Keras."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import Any

import keras
import numpy as np
from keras.src import api_export, backend
from keras.src.backend import compute_output_spec
from keras.src.backend.common.variables import AutocastScope, get_autocast_scope
from keras.src.models.functional import Functional
from keras.src.saving import object_registration, saving_lib
from keras.src.saving.keras_saveable import KerasSaveable
from keras.src.utils import naming, tracking


def impersonate(cls: type, original: type) -> type:
    """Makes `cls` save and load as if it were `original`.

    Keras builds save paths and configs from the name of a layer's class and
    from the name the class was registered under; a compressed layer must keep
    both, so that plain Keras loads what it saved.
    """
    cls.__name__ = original.__name__
    cls.__qualname__ = original.__qualname__
    cls.__module__ = original.__module__
    public_name = api_export.get_name_from_symbol(original)
    if public_name is not None:
        api_export.REGISTERED_OBJS_TO_NAMES[cls] = public_name
    registered = object_registration.get_registered_name(original)
    if registered != original.__name__:
        object_registration.GLOBAL_CUSTOM_NAMES[cls] = registered
    return cls


def add_child(layer: keras.layers.Layer, name: str, child: keras.layers.Layer) -> None:
    """Gives a built, and therefore locked, layer a child layer."""
    with unlocked(layer):
        setattr(layer, name, child)


def remove_child(layer: keras.layers.Layer, name: str) -> None:
    """Undoes `add_child`; deleting the attribute alone leaves the child tracked."""
    with unlocked(layer):
        layer._tracker.untrack(getattr(layer, name))
        delattr(layer, name)


@contextmanager
def unlocked(layer: keras.layers.Layer) -> Iterator[None]:
    """Returns the scope in which a built layer takes new variables and layers."""
    locked = layer._tracker.locked
    layer._tracker.unlock()
    try:
        yield
    finally:
        if locked:
            layer._tracker.lock()


def variable_scope(model: keras.Model) -> AbstractContextManager:
    """Returns the scope in which a model's variables are created.

    A model that trains with `tf.distribute` mirrors its variables; a variable
    made outside its scope would be changed by one replica after the other.
    """
    strategy = getattr(model, "distribute_strategy", None)
    return nullcontext() if strategy is None else strategy.scope()


def sync_variables(model: keras.Model) -> None:
    """Lets variables hold, and hand on, what a training in progress computes with.

    On JAX, `fit` keeps the state of a training outside the variables and takes
    it from them again after this call; on TensorFlow there is nothing to do.
    """
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


def running_callbacks() -> keras.callbacks.CallbackList | None:
    """Returns the list whose callbacks are being called, to be called from one of them.

    Keras does not tell a callback what stands beside it. None if something else than
    `keras.callbacks.CallbackList` calls it.
    """
    for frame in _frames():
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.callbacks.CallbackList):
            return owner
    return None


def fit_validates() -> bool | None:
    """Returns whether the `fit` that runs has validation data; None if none runs.

    To be called from one of its callbacks.
    """
    values = _locals_of_fit()
    return None if values is None else values["validation_data"] is not None


def fit_validation_data() -> Any:
    """Returns what the `fit` that runs validates with, as a user gave it, or split off.

    None if it does not, if it uses it up, as a generator, or if none runs. To be called
    from one of its callbacks.
    """
    data = (_locals_of_fit() or {}).get("validation_data")
    if isinstance(data, Iterator):
        return None
    return tuple(data) if isinstance(data, list) else data  # As `fit` takes a list.


def _locals_of_fit() -> dict[str, Any] | None:
    for frame in _frames():
        values = frame.f_locals
        if frame.f_code.co_name == "fit" and "validation_data" in values:
            return values
    return None


def _frames() -> Iterator[FrameType]:
    """Returns the functions that are running, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def walk_layers(model: keras.Model) -> list[tuple[str, keras.layers.Layer]]:
    """Returns `(path, layer)` of every layer below `model`, depth first, each once.

    A path joins layer names, like "backbone/block_1/conv".
    """
    found: list[tuple[str, keras.layers.Layer]] = []
    seen = {id(model)}

    def visit(parent: keras.layers.Layer, prefix: str) -> None:
        children = parent._flatten_layers(include_self=False, recursive=False)
        for layer in children:
            if id(layer) not in seen:
                seen.add(id(layer))
                found.append((prefix + layer.name, layer))
                visit(layer, f"{prefix}{layer.name}/")

    visit(model, "")
    return found


def weights_of_its_own(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Returns the variables that a layer itself made to be trained, frozen or not.

    Weights that Keras has quantized are among them; statistics are not.
    """
    quantized = [
        v for v in layer._non_trainable_variables if v.dtype in ("int8", "uint8")
    ]
    return [*layer._trainable_variables, *quantized]


def own_kernel(layer: keras.layers.Layer) -> keras.Variable | None:
    """Returns the variable of a layer's kernel, whatever its property makes of it."""
    attributes = vars(layer)
    return attributes.get("_kernel", attributes.get("kernel"))


def _graph_of(model: keras.Model) -> Functional | None:
    """Returns the graph of a functional or Sequential model; a subclassed has none."""
    graph = getattr(model, "_functional", model)
    return graph if isinstance(graph, Functional) else None


def held_beside(model: keras.Model) -> list[keras.Model]:
    """Returns the models that a model holds, but not in a graph known to use them."""
    graph = _graph_of(model)
    used = [] if graph is None else [graph, *graph.operations]
    children = model._flatten_layers(include_self=False, recursive=False)
    return [
        child
        for child in children
        if isinstance(child, keras.Model) and not any(child is u for u in used)
    ]


def output_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers whose outputs leave a model, as far as its graph tells.

    Reshaping is looked through, and so are models that stand last in this one.
    """
    graph = _graph_of(model)
    found: list[keras.layers.Layer] = []
    for tensor in [] if graph is None else graph.outputs:
        operation = tensor._keras_history.operation
        while isinstance(operation, keras.layers.Reshape | keras.layers.Flatten):
            node = operation._inbound_nodes[tensor._keras_history.node_index]
            tensor = node.input_tensors[0]
            operation = tensor._keras_history.operation
        if isinstance(operation, keras.Model):
            found += output_layers(operation)
        elif isinstance(operation, keras.layers.Layer):
            found.append(operation)
    return found


def running_call(layer: keras.layers.Layer) -> Any:
    """Returns what stands for the outermost `Layer.__call__` that is running.

    To be asked within a call; the object dies with that call.
    """
    return layer._get_call_context()


def tensor_of(variable: Any) -> Any:
    """Returns a variable's value as an uncast tensor, also in mixed precision.

    The reshape matters: on TensorFlow a converted variable is still a variable,
    which `cond` does not accept.
    """
    with AutocastScope(None):
        return keras.ops.reshape(variable, variable.shape)


def autocast_dtype() -> str | None:
    """Returns the compute dtype of the running `Layer.__call__`, if it casts."""
    scope = get_autocast_scope()
    return None if scope is None else scope.dtype


def entry_of_call(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Returns the outermost layer whose `__call__` is running; ask within a call."""
    return layer._get_call_context().entry_layer


# The functions in which Keras' trainers run a step, and those that trace a function.
_STEPS = {
    ("keras.src.backend.tensorflow.trainer", "one_step_on_data"),
    ("keras.src.backend.jax.trainer", "iterator_step"),
}
_TRACERS = (
    "tensorflow.python.eager.polymorphic_function.tracing_compilation",
    "jax._src.pjit",
)


def model_of_step() -> keras.Model | None:
    """Returns the model whose train, test or predict function is running or traced.

    None in any other function, also in one of the user's that such a function calls:
    whoever traced it keeps what it was traced to, and `renew_compiled_functions` does
    not reach it. None as well where a strategy runs its replicas in threads.
    """
    frames = _frames()
    traced = False
    for frame in frames:
        module = frame.f_globals.get("__name__", "")
        if (module, frame.f_code.co_name) in _STEPS:
            break
        if traced and not module.startswith("jax."):
            return None
        if module in _TRACERS:
            # What JAX traces are the methods that a trainer's step calls.
            if not module.startswith("jax."):
                return None
            traced = True
    else:
        return None
    owners = (f.f_locals.get("self") for f in [frame, *frames])
    return next((owner for owner in owners if isinstance(owner, keras.Model)), None)


def tell_of_assignments(variable: keras.Variable, tell: Callable[[], None]) -> None:
    """Calls `tell` after every assignment to a variable.

    `set_weights`, and with it `EarlyStopping`, assign to variables one by one and
    tell nobody.
    """
    assign = variable.assign

    def assign_and_tell(value: Any) -> Any:
        result = assign(value)
        tell()
        return result

    variable.assign = assign_and_tell


def handed_back() -> bool:
    """Returns whether a trainer assigns what it was given; see `sync_variables`.

    To be asked while a variable is assigned to.
    """
    return any(frame.f_code.co_name == "jax_state_sync" for frame in _frames())


def trained_variables(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Returns the variables that an optimizer was built for, in their order."""
    return optimizer._trainable_variables


def slots_of(
    optimizer: keras.optimizers.Optimizer, variable: keras.Variable
) -> list[tuple[keras.Variable, float]]:
    """Returns what an optimizer remembers of a variable's past, weight by weight.

    As momentum and velocity are; a moving average of the variable itself is none.

    Args:
        optimizer: the innermost one, built or not.
        variable: one that it may train.

    Returns:
        Variables of the shape of `variable`, and what each begins with.
    """
    trained = optimizer._trainable_variables if optimizer.built else []
    places = [i for i, v in enumerate(trained) if v is variable]
    if not places:
        return []
    found = []
    for name, values in vars(optimizer).items():
        if name in ("_trainable_variables", "_model_variables_moving_average"):
            continue
        if not isinstance(values, list) or len(values) != len(trained):
            continue
        slot = values[places[0]]
        if isinstance(slot, keras.Variable) and slot.shape == variable.shape:
            begins = getattr(optimizer, "initial_accumulator_value", 0.0)
            found.append((slot, begins if "accumulators" in name else 0.0))
    return found


def trained_variable(
    optimizer: keras.optimizers.Optimizer, variable: Any
) -> keras.Variable:
    """Returns which of an optimizer's variables one of its steps is about."""
    return optimizer._trainable_variables[optimizer._get_variable_index(variable)]


def spread_of(optimizer: keras.optimizers.Optimizer, variable: Any) -> Any:
    """Returns what Adam and its kin divide a gradient of a weight by; 1 for others.

    To be called within a step, after the variable's own.
    """
    if not isinstance(optimizer, keras.optimizers.Adam | keras.optimizers.Nadam):
        return 1.0
    second = optimizer._velocities[optimizer._get_variable_index(variable)]
    step = keras.ops.cast(optimizer.iterations + 1, second.dtype)
    start = keras.ops.sqrt(1.0 - keras.ops.power(optimizer.beta_2, step))
    return (keras.ops.sqrt(second) + optimizer.epsilon) / start


def untrack_optimizer_variable(
    optimizer: keras.optimizers.Optimizer, variable: keras.Variable
) -> None:
    """Undoes `optimizer.add_variable`."""
    optimizer._untrack_variable(variable)


def keeps_second_moments(optimizer: Any) -> bool:
    """Returns whether an optimizer, built or not, averages squared gradients."""
    return isinstance(
        innermost(optimizer),
        keras.optimizers.Adam
        | keras.optimizers.Nadam
        | keras.optimizers.Lamb
        | keras.optimizers.RMSprop,
    )


def second_moment(optimizer: Any, variable: keras.Variable) -> np.ndarray | None:
    """Returns an optimizer's mean of squared gradients; None if it has none yet."""
    inner = innermost(optimizer)
    trained = inner._trainable_variables if inner.built else []
    for index, each in enumerate(trained):
        if each is variable:
            return inner._velocities[index].numpy()
    return None


def innermost(optimizer: Any) -> Any:
    """Returns the optimizer that steps, inside those that scale its loss."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def _slots(inner: Any) -> list[keras.Variable]:
    """Returns what an optimizer remembers, but for its steps and its rate."""
    own = [inner._iterations, inner._learning_rate]
    return [v for v in inner._variables if not any(v is each for each in own)]


def can_rebuild(optimizer: Any) -> bool:
    """Returns whether `rebuild_optimizer` would lose nothing.

    It would if an optimizer has made steps, and remembers what it is not known to.
    """
    inner = innermost(optimizer)
    if not inner.built or not int(inner._iterations.numpy()):
        return True
    there, count = vars(inner).values(), len(inner._trainable_variables)
    lists = [v for v in there if isinstance(v, list) and len(v) == count]
    known = {id(v) for v in there} | {id(v) for each in lists for v in each}
    return all(id(v) in known for v in _slots(inner))


def rebuild_optimizer(optimizer: Any, variables: list[keras.Variable]) -> None:
    """Builds an optimizer that is built for other variables.

    What it remembers of those that stay is kept, and so is its count of steps.

    Args:
        optimizer: one that is built, with those that it wraps, and `can_rebuild`.
        variables: what it trains from here on.
    """
    inner = innermost(optimizer)
    trained, before = list(inner._trainable_variables), dict(vars(inner))
    for slot in _slots(inner):
        untrack_optimizer_variable(inner, slot)
    inner.built = False
    inner._trainable_variables_indices = {}
    inner.build(variables)
    places = {id(v): place for place, v in enumerate(trained)}
    for name, old in before.items():
        new = vars(inner)[name]
        if new is old or name == "_trainable_variables":
            continue
        if isinstance(old, keras.Variable):
            new.assign(old.numpy())
        elif isinstance(old, list) and len(old) == len(trained):
            for variable, slot in zip(variables, new, strict=True):
                if slot is not None and id(variable) in places:
                    slot.assign(old[places[id(variable)]].numpy())
    while optimizer is not inner:
        with tracking.DotNotTrackScope():  # They are none of the optimizer's own.
            optimizer._trainable_variables = list(variables)
        keys = map(optimizer._var_key, variables)
        optimizer._trainable_variables_indices = {k: i for i, k in enumerate(keys)}
        optimizer = optimizer.inner_optimizer


def build_loss(model: keras.Model, batch: tuple[Any, Any, Any]) -> None:
    """Makes the variables of a compiled loss, as the first step of training would.

    A loss of several outputs has some, to show the part of each.

    Args:
        model: a compiled model.
        batch: as of `loss_of`.
    """
    loss = model._compile_loss
    if loss is None or loss.built:
        return

    def symbolic(array: Any) -> Any:
        return None if array is None else keras.KerasTensor(array.shape, array.dtype)

    x, y, _ = batch
    outputs = compute_output_spec(model, keras.tree.map_structure(symbolic, x))
    with variable_scope(model):
        loss.build(y, outputs)


def loss_of(model: keras.Model, batch: tuple[Any, Any, Any], compiled: bool) -> Any:
    """Returns the loss that a step of training would have, a scalar tensor.

    To be called where variables are not changed, as in a `StatelessScope`.

    Args:
        model: the model; it is called on `x` in any case.
        batch: `(x, y, sample_weight)`, of which the last two may be None.
        compiled: whether the loss is asked for; else it is 0.
    """
    x, y, weight = batch
    training = {"training": True} if model._call_has_training_arg else {}
    outputs = model(x, **training)
    if not compiled:
        return keras.ops.zeros(())
    return model._compute_loss(x, y, outputs, weight, training=True)


def compiled_loss(model: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
    """Returns the loss that a model was compiled with, without what layers add."""
    return model._compile_loss(y, y_pred, sample_weight)


def compiled_with(model: keras.Model) -> dict[str, Any]:
    """Returns the arguments of `compile` that make another model train as this does.

    The optimizer is the same object; so are metrics that were given as objects.
    """
    return {**model._compile_config.config, "optimizer": model.optimizer}


def mask_of(tensor: Any) -> Any:
    """Returns the mask that Keras attached to a tensor, True where it counts; or None.

    To be asked when the call of the layer that made the tensor is over.
    """
    return backend.get_keras_mask(tensor)


@contextmanager
def outputs_recorded(
    layers: dict[str, keras.layers.Layer],
) -> Iterator[dict[str, list[Any]]]:
    """Returns what layers are called for within: by name, the outputs of each call.

    They are the objects that the layers return, in a trace the tensors of that trace.
    """
    seen: dict[str, list[Any]] = {name: [] for name in layers}

    def recording(call: Callable, calls: list[Any]) -> Callable:
        def call_and_record(*args: Any, **kwargs: Any) -> Any:
            outputs = call(*args, **kwargs)
            calls.append(outputs)
            return outputs

        return call_and_record

    # An attribute of the object goes before the method of its class.
    changed = []
    try:
        for name, layer in layers.items():
            vars(layer)["call"] = recording(layer.call, seen[name])
            changed.append(layer)
        yield seen
    finally:
        for layer in changed:
            vars(layer).pop("call", None)


_FUNCTIONS = ("train_function", "test_function", "predict_function")


def renew_compiled_functions(model: keras.Model) -> None:
    """Has the functions that a model has traced traced anew when they next run.

    Unlike `drop_compiled_functions` it may be called from within `fit`.
    """
    for name in _FUNCTIONS:
        if getattr(model, name, None) is not None:
            getattr(model, f"make_{name}")(force=True)


def drop_compiled_functions(model: keras.Model) -> None:
    """Forgets the traced train, test and predict functions of a model.

    They hold the graph of the layers as they were when first called.
    """
    for name in _FUNCTIONS:
        if hasattr(model, name):
            setattr(model, name, None)


def saved_paths(model: keras.Model) -> list[tuple[str, keras.layers.Layer]]:
    """Returns `(path, layer)` of every layer, as a weights file names its group.

    Such a path is made of attributes, classes and counts, not of layer names: it is
    the same for another instance of the model. The walk is that of
    `saving_lib._save_state`.
    """
    found: list[tuple[str, keras.layers.Layer]] = []
    seen: set[int] = set()

    def visit(item: Any, path: str, containers: set[int]) -> None:
        if isinstance(item, KerasSaveable):
            if id(item) in seen:
                return
            seen.add(id(item))
            if isinstance(item, keras.layers.Layer):
                found.append((path, item))
            for attribute, child in saving_lib._walk_saveable(item):
                visit(child, f"{path}/{attribute}", set())
        elif isinstance(item, list | dict | tuple) and id(item) not in containers:
            containers.add(id(item))
            names: dict[str, int] = {}
            for child in item.values() if isinstance(item, dict) else item:
                if isinstance(child, KerasSaveable):
                    name = naming.to_snake_case(child.__class__.__name__)
                elif isinstance(child, list | dict | tuple):
                    name = "container"
                else:
                    continue
                name = saving_lib._get_unique_name(name, names)
                visit(child, f"{path}/{name}", containers)

    visit(model, "", set())
    return found


def metric_direction(model: keras.Model, name: str) -> str | None:
    """Returns "up" where more of a compiled metric is better, "down", or None.

    None where there is no such metric, or Keras does not know. Of several outputs each
    may have its own, whose name begins with that of the output.
    """
    outputs = getattr(model, "output_names", None) or ()
    names = {name, *(name.removeprefix(f"{output}_") for output in outputs)}
    if "loss" in names:
        return "down"
    for group in model.metrics:
        for metric in [group, *getattr(group, "metrics", [])]:
            if metric.name in names:
                return getattr(metric, "_direction", None)
    return None
