"""Computes what depends on constants only, and follows trained weights through it."""

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.graph.graph import Graph, LayerKernel, node_name

_LIMIT = 1 << 26  # elements; a Fill bigger than this is cheaper left alone
# They put the elements of their first input in other places, and do nothing else.
_MOVES = {
    *("Reshape", "Transpose", "Squeeze", "ExpandDims", "Cast", "ReverseV2"),
    *("Slice", "StridedSlice"),
}


def fold_constants(graph: Graph) -> None:
    """Replaces everything that depends on constants only by its value.

    A bias, a folded BatchNormalization factor or a kernel becomes one `Const` node,
    which is what lets the passes recognise it. What a trained weight becomes on the
    way is noted in `kernels` and `blended`.

    Args:
        graph: the graph; changed in place.
    """
    constant = {n.name for n in graph.nodes.values() if n.op == "Const"}
    for node in graph.nodes.values():
        # Tensor lists are constants no array can hold.
        if "TensorList" in node.op or not node.input:
            continue
        if all(node_name(t) in constant for t in node.input):
            constant.add(node.name)
    needed = {
        tensor
        for node in graph.nodes.values()
        if node.name not in constant
        for tensor in node.input
    } | set(graph.outputs.values())
    fold = sorted(
        t
        for t in needed
        if node_name(t) in constant and graph.nodes[node_name(t)].op != "Const"
    )
    if not fold:
        return
    # Kept apart from the whole graph: only what the constants need is run.
    part = graph.definition()
    kept = [node for node in part.node if node.name in constant]
    del part.node[:]
    part.node.extend(kept)
    large = {f"{name}:0": value for name, value in graph.large_constants().items()}
    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(part, name="")
        tensors = [
            imported.get_tensor_by_name(t if ":" in t else f"{t}:0") for t in fold
        ]
        with tf.compat.v1.Session(graph=imported) as session:
            values = session.run(tensors, feed_dict=large)
            sources = _sources(graph, constant)
            kernels = _move_kernels(graph, session, fold, sources)
    for tensor, value in zip(fold, values, strict=True):
        if value.size <= _LIMIT and value.dtype != object:
            name = graph.add_constant(f"{node_name(tensor)}/folded", value)
            graph.rewire(tensor, name)
            if tensor in kernels:
                graph.kernels[name] = kernels[tensor]
            elif found := sources.get(node_name(tensor), {}):
                paths = {graph.kernels[source].path for source in found}
                graph.blended[name] = frozenset(paths)
    graph.refresh()


def _sources(graph: Graph, constant: set[str]) -> dict[str, dict[str, bool]]:
    """Returns constant node -> the trained weights it is made of.

    Each with whether they were only moved on the way.
    """
    sources: dict[str, dict[str, bool]] = {name: {name: True} for name in graph.kernels}
    for node in graph.nodes.values():
        if node.name not in constant or not node.input:
            continue
        moves = node.op in _MOVES
        found = {
            source: moved and moves
            for tensor in node.input
            for source, moved in sources.get(node_name(tensor), {}).items()
        }
        if found:
            sources[node.name] = found
    return sources


def _move_kernels(
    graph: Graph,
    session: tf.compat.v1.Session,
    fold: list[str],
    sources: dict[str, dict[str, bool]],
) -> dict[str, LayerKernel]:
    """Returns tensor -> the trained weights in it, where they were only moved."""
    origins = {
        tensor: next(iter(found))
        for tensor in fold
        if (found := sources.get(node_name(tensor), {}))
        and len(found) == 1
        and all(found.values())
    }

    def move(field: str) -> dict[str, np.ndarray]:
        arrays = {
            source: array
            for source in set(origins.values())
            if (array := getattr(graph.kernels[source], field)) is not None
        }
        moved = [t for t, source in origins.items() if source in arrays]
        names = [t if ":" in t else f"{t}:0" for t in moved]
        feed = {f"{name}:0": array for name, array in arrays.items()}
        found = session.run(names, feed_dict=feed)
        return {
            tensor: value.astype(arrays[origins[tensor]].dtype)
            for tensor, value in zip(moved, found, strict=True)
        }

    integers, masks = move("integers"), move("mask")
    return {
        tensor: LayerKernel(
            graph.kernels[source].path, integers.get(tensor), masks.get(tensor)
        )
        for tensor, source in origins.items()
    }
