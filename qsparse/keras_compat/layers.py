"""What lies under a layer or a model, and how layers pass for others."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
from keras.src import api_export
from keras.src.models.functional import Functional
from keras.src.saving import object_registration


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
