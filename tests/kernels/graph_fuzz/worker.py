"""Runs batches of files, on plain LiteRT or with the delegate, one after another.

Every line of stdin names a batch and the file in it to begin with; every line of stdout
is what became of one file. A file may end the process: whoever feeds it then starts
another, behind that file.
"""

import hashlib
import json
import os
import struct
import sys

import numpy as np

SHAPES = "shapes"  # in place of options: only whether the stated shapes are true
_HEADER = struct.Struct("<II")


def write_batch(path, files):
    """`files` are contents with the seed of their inputs."""
    with open(path, "wb") as stream:
        for content, seed in files:
            stream.write(_HEADER.pack(len(content), seed) + content)


def _read_batch(path):
    with open(path, "rb") as stream:
        while header := stream.read(_HEADER.size):
            size, seed = _HEADER.unpack(header)
            yield stream.read(size), seed


def _values(detail, shape, rng):
    kind = detail["dtype"]
    if np.issubdtype(kind, np.integer):
        info = np.iinfo(kind)
        low, high = max(info.min, -128), min(info.max, 127)
        return rng.integers(low, high + 1, shape).astype(kind)
    if kind == np.bool_:
        return rng.random(shape) < 0.5
    return rng.normal(size=shape).astype(kind)


def _run(interpreter, rng):
    """A digest of every output."""
    for detail in interpreter.get_input_details():
        shape = tuple(int(size) for size in detail["shape"])
        # The shape of one that is also produced may differ; others are not to.
        values = _values(detail, shape, np.random.default_rng(rng.integers(1 << 32)))
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    digests = []
    for detail in interpreter.get_output_details():
        value = interpreter.get_tensor(detail["index"])
        text = f"{value.dtype}{value.shape}".encode() + value.tobytes()
        digests.append(hashlib.sha1(text).hexdigest()[:16])
    return digests


def _resize(interpreter, rng):
    """All inputs, or one of them, to another batch."""
    details = interpreter.get_input_details()
    one = int(rng.integers(len(details) + 1))
    batch = int(rng.choice([1, 2, 4, 5]))
    for index, detail in enumerate(details):
        if one in (index, len(details)) and len(detail["shape"]):
            shape = [batch, *(int(size) for size in detail["shape"][1:])]
            interpreter.resize_tensor_input(detail["index"], shape)


def examine(make, content, seed):
    """What became of a file: how far it came, with what results.

    Args:
        make: returns an interpreter for the bytes of a file.
        content: the file.
        seed: of the values of inputs; a third of all seeds also resize.
    """
    rng = np.random.default_rng(seed)
    steps = []
    try:
        interpreter = make(content)
        steps.append("loaded")
        interpreter.allocate_tensors()
        steps.append("prepared")
        steps.append(_run(interpreter, rng))
        if seed % 3 == 0 and interpreter.get_input_details():
            _resize(interpreter, rng)
            steps.append("resized")
            interpreter.allocate_tensors()
            steps.append("prepared again")
            steps.append(_run(interpreter, rng))
    except (ValueError, RuntimeError, TypeError) as error:
        steps.append({"error": str(error)[-300:]})
    return steps


def examine_shapes(make, content):
    """Whether LiteRT's own kernels find the shapes that the file states.

    Args:
        make: returns an interpreter, without XNNPACK, for the bytes of a file.
        content: the file.
    """
    try:
        interpreter = make(content)
        stated = [list(t["shape"]) for t in interpreter.get_tensor_details()]
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, TypeError) as error:
        return [{"error": str(error)[-300:]}]
    found = interpreter.get_tensor_details()[: len(stated)]
    return [stated == [list(t["shape"]) for t in found]]


def main():
    from ai_edge_litert.interpreter import (
        Interpreter,
        OpResolverType,
        load_delegate,
    )

    library, options, threads = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])

    def make_alone(content):
        return Interpreter(
            model_content=content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )

    def make(content):
        use = [] if options is None else [load_delegate(library, options)]
        return Interpreter(
            model_content=content, experimental_delegates=use, num_threads=threads
        )

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the runtime prints
    for line in sys.stdin:
        path, first = json.loads(line)
        for index, (content, seed) in enumerate(_read_batch(path)):
            if index >= first:
                if options == SHAPES:
                    answer = examine_shapes(make_alone, content)
                else:
                    answer = examine(make, content, seed)
                answers.write(json.dumps(answer) + "\n")
                answers.flush()


if __name__ == "__main__":
    main()
