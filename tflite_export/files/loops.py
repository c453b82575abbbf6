"""How often a WHILE runs its body, where the file tells.

A loop that counts, as Keras' recurrent layers do: its condition compares a value it
carries, or several, with constants, and its body adds a constant to each.
"""

import numpy as np

from qsparse.tflite_export.files.model_parts import Op, Subgraph, Tensor

_INCLUSIVE = {"LESS": False, "LESS_EQUAL": True}


def trip_count(
    inputs: tuple[Tensor | None, ...], condition: Subgraph, body: Subgraph
) -> int | None:
    """Returns how often the body of a WHILE runs; None if that depends on data.

    Args:
        inputs: the tensors that enter the loop.
        condition: its condition.
        body: its body.
    """
    carried = len(inputs)
    if not (
        len(condition.inputs) == len(body.inputs) == len(body.outputs) == carried
        and len(condition.outputs) == 1
    ):
        return None
    counts = [
        _one(inputs, condition, body, op)
        for op in _comparisons(condition, condition.outputs[0])
    ]
    # All of them have to hold: the first that fails ends the loop.
    if not counts or any(count is None for count in counts):
        return None
    return min(count for count in counts if count is not None)


def _comparisons(graph: Subgraph, result: Tensor) -> list[Op]:
    """Returns the ops that have to be true together for `result` to be."""
    found: list[Op] = []
    wanted = [result.index]
    for op in reversed(graph.ops):
        if not any(output.index in wanted for output in op.outputs):
            continue
        if op.name == "LOGICAL_AND":
            wanted += [tensor.index for tensor in op.inputs if tensor is not None]
        else:
            found.append(op)
    made = {output.index for op in graph.ops for output in op.outputs}
    return found if found and all(index in made for index in wanted) else []


def _one(
    inputs: tuple[Tensor | None, ...], condition: Subgraph, body: Subgraph, op: Op
) -> int | None:
    """Returns for how many rounds one comparison holds."""
    if op.name not in _INCLUSIVE or len(op.inputs) != 2:
        return None
    counter, limit = op.inputs
    place = _place(condition, counter)
    end = _value(limit)
    bound = _place(condition, limit)
    if end is None and bound is not None and _is_kept(body, bound):
        end = _value(inputs[bound])
    if place is None or end is None:
        return None
    start, step = _value(inputs[place]), _step(body, place)
    if start is None or step is None:
        return None
    span = end - start + (1 if _INCLUSIVE[op.name] else 0)
    return max(-(-span // step), 0)


def _place(graph: Subgraph, tensor: Tensor | None) -> int | None:
    """Returns which input of a graph a tensor is."""
    if tensor is None:
        return None
    found = [i for i, t in enumerate(graph.inputs) if t.index == tensor.index]
    return found[0] if found else None


def _is_kept(body: Subgraph, place: int) -> bool:
    """Whether the body hands a value on as it came."""
    return body.outputs[place].index == body.inputs[place].index


def _step(body: Subgraph, place: int) -> int | None:
    """Returns the positive constant that the body adds to a carried value."""
    result, before = body.outputs[place].index, body.inputs[place].index
    makers = [op for op in body.ops if any(o.index == result for o in op.outputs)]
    if len(makers) != 1 or makers[0].name != "ADD" or len(makers[0].inputs) != 2:
        return None
    one, other = makers[0].inputs
    if one is None or other is None:
        return None
    if other.index == before:
        one, other = other, one
    step = _value(other)
    return step if one.index == before and step is not None and step > 0 else None


def _value(tensor: Tensor | None) -> int | None:
    """Returns the value of a constant integer."""
    if tensor is None or tensor.data is None or tensor.size != 1:
        return None
    if tensor.dtype not in (np.int32, np.int64):
        return None
    return int(tensor.data.reshape(-1)[0])
