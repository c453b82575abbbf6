"""Multiply-accumulates of a file, against counts made by hand from the definitions."""

import keras
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers

import qsparse
from qsparse.tflite_export import inspect_file
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.parity.outputs import count_macs, float_ops
from qsparse.tflite_export.runtime.interpreter import read_plan
from tests.tflite_export.raw_files import RawFile


def exported(body, data, folder, **arguments):
    """Export a network of the layers of `body`; return its report and its file."""
    inputs = keras.Input(data.shape[1:], dtype=data.dtype)
    x = inputs
    for layer in body:
        x = layer(x)
    path = folder / "m.tflite"
    report = qsparse.export(keras.Model(inputs, x), path, data, **arguments)
    return report, ModelFile(path)


@pytest.fixture(scope="module")
def lstm(images, tmp_path_factory):
    body = [layers.LSTM(32), layers.Dense(32, activation="relu"), layers.Dense(10)]
    rows = images[0][:32, :, :, 0]
    return exported(body, rows, tmp_path_factory.mktemp("lstm"))


def test_a_loop_counts_as_often_as_it_runs(lstm):
    report, _ = lstm
    # 28 rows of 28 pixels; four gates of 32 units see the row and the last state.
    cell = 28 * 4 * 32 * (28 + 32)
    assert report.macs == cell + 32 * 32 + 32 * 10 == 216_384
    assert report.int8_share == (32 * 32 + 32 * 10) / 216_384 < 0.01
    assert all("runs 28 times" in name for name in report.float_ops)
    assert len(report.float_ops) == 2  # input and state times their weights


def test_inspection_shows_what_is_in_a_loop_and_the_plan_of_the_main_graph(lstm):
    report, file = lstm
    found = inspect_file(report.path)
    assert found.macs == 216_384 and found.int8_macs == 1_344
    loop = {layer.shape: layer for layer in found.layers if "loop" in layer.reason}
    assert loop[128, 28].macs == 28 * 128 * 28 and loop[128, 32].macs == 28 * 128 * 32
    assert {layer.kernel for layer in loop.values()} == {"LiteRT"}
    # The body of the loop has nodes of the same numbers.
    decided = {(e["node"], e["output_tensor"]) for e in read_plan(report.path)}
    dense = {
        (op.index, op.outputs[0].index)
        for op in file.ops
        if op.name == "FULLY_CONNECTED"
    }
    assert len(dense) == 2 and dense <= decided


def test_convolutions_in_three_dimensions_count(images, tmp_path):
    volumes = images[0][:16, :16, :16].reshape(16, 4, 8, 8, 1)
    body = [
        layers.Conv3D(4, 3, padding="same"),
        layers.Conv3D(8, 3, strides=2),
        layers.Flatten(),
        layers.Dense(10),
    ]
    report, _ = exported(body, volumes, tmp_path)
    first = 4 * 8 * 8 * 27 * 1 * 4
    second = 1 * 3 * 3 * 27 * 4 * 8
    dense = 72 * 10
    assert report.macs == first + second + dense
    assert report.int8_share == dense / report.macs < 0.02
    assert sum("CONV_3D" in name for name in report.float_ops) == 2


def test_transposed_convolutions_count_from_their_input(images, tmp_path):
    body = [
        layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
        layers.Flatten(),
        layers.Dense(10),
    ]
    report, _ = exported(body, images[0][:16], tmp_path)
    assert report.macs == 28 * 28 * 1 * 9 * 4 + 56 * 56 * 4 * 10


def test_an_embedding_is_a_lookup(images, tmp_path):
    ids = (images[0][:16, 10, :12, 0] * 49).astype("int32")
    body = [layers.Embedding(50, 8), layers.Flatten(), layers.Dense(10)]
    report, _ = exported(body, ids, tmp_path)
    assert report.macs == 12 * 8 * 10 and report.int8_share == 1.0


def one_op(name, inputs, output, options=None, custom=None):
    """Return the only op of a file; inputs are (shape, dtype, is constant) or None."""
    file = RawFile()
    graph = file.graph()
    numbers = [
        -1
        if entry is None
        else graph.tensor(entry[0], entry[1], 1 if entry[2] else None)
        for entry in inputs
    ]
    result = graph.tensor(output, "float32")
    graph.op(name, numbers, [result], options, custom)
    graph.tree.outputs = [result]
    return ModelFile(file.to_bytes())


def weights(*shape, dtype="float32"):
    return shape, dtype, True


def values(*shape, dtype="float32"):
    return shape, dtype, False


def test_a_fused_lstm_counts_its_gates_and_its_projection():
    batch, steps, inputs, cells, outputs = 2, 5, 7, 6, 3
    gates = [weights(cells, inputs)] * 4 + [weights(cells, outputs)] * 4
    absent, bias = [None] * 3, [weights(cells)] * 4
    rest = [weights(outputs, cells), None, values(batch, outputs), values(batch, cells)]
    file = one_op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        [values(batch, steps, inputs), *gates, *absent, *bias, *rest],
        (batch, steps, outputs),
    )
    each = 4 * cells * inputs + 4 * cells * outputs + outputs * cells
    assert file.ops[0].macs == batch * steps * each
    assert file.ops[0].int8_macs == 0
    # With coupled gates the input gate has no weights.
    gates[0] = gates[4] = None
    file = one_op(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        [values(batch, steps, inputs), *gates, *absent, *bias, *rest],
        (batch, steps, outputs),
    )
    each -= cells * inputs + cells * outputs
    assert file.ops[0].macs == batch * steps * each


def test_fused_rnns_and_svdf_count():
    kinds = {"dtype": "int8"}
    state = values(2, 6)
    rnn = [values(2, 5, 7), weights(6, 7, **kinds), weights(6, 6, **kinds), weights(6)]
    file = one_op("UNIDIRECTIONAL_SEQUENCE_RNN", [*rnn, state], (2, 5, 6))
    assert file.ops[0].macs == 2 * 5 * (6 * 7 + 6 * 6)
    assert file.ops[0].int8_macs == file.ops[0].macs  # integer weights
    both = [*rnn, state, *rnn[1:], state, None, None, None]
    file = one_op("BIDIRECTIONAL_SEQUENCE_RNN", both, (2, 5, 12))
    assert file.ops[0].macs == 2 * 2 * 5 * (6 * 7 + 6 * 6)
    svdf = [values(2, 7), weights(8, 7), weights(8, 10), None, values(2, 80)]
    file = one_op("SVDF", svdf, (2, 4))
    assert file.ops[0].macs == 2 * (8 * 7 + 8 * 10)


@pytest.mark.parametrize("transposed", [False, True])
def test_products_of_activations_count(transposed):
    options = schema.BatchMatMulOptionsT()
    options.adjX = transposed
    left = (3, 5, 4) if transposed else (3, 4, 5)
    file = one_op("BATCH_MATMUL", [values(*left), values(3, 5, 6)], (3, 4, 6), options)
    assert file.ops[0].macs == 3 * 4 * 5 * 6


def test_transposed_convolution_in_three_dimensions_counts():
    file = one_op(
        "CONV_3D_TRANSPOSE",
        [weights(5, dtype="int32"), weights(3, 2, 2, 4, 5), values(1, 6, 7, 8, 5)],
        (1, 18, 14, 16, 4),
    )
    assert file.ops[0].macs == 6 * 7 * 8 * 5 * (3 * 2 * 2) * 4


def test_an_op_that_nobody_can_count_is_listed():
    file = one_op("CUSTOM", [values(1, 4)], (1, 4), custom="FlexConv3D")
    assert file.ops[0].name == "CUSTOM FlexConv3D" and count_macs(file) == (0, 1.0)
    (listed,) = float_ops(file)
    assert listed == "CUSTOM FlexConv3D t (its MACs are unknown and count as none)"


def loop(limit, step=2, start=3, counted=True):
    """Return a file whose WHILE multiplies by 4x4 weights in every round."""
    file = RawFile()
    main, condition, body = file.graph(), file.graph(), file.graph()
    entering = [
        main.tensor((), "int32", start) if counted else main.input((), "int32"),
        main.input((1, 4)),
    ]
    leaving = [main.tensor((), "int32"), main.tensor((1, 4))]
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    main.op("WHILE", entering, leaving, options)
    main.tree.outputs = leaving[1:]
    counter, _ = condition.input((), "int32"), condition.input((1, 4))
    goes_on = condition.tensor((), "bool")
    end = condition.tensor((), "int32", limit)
    condition.op("LESS", [counter, end], [goes_on])
    condition.tree.outputs = [goes_on]
    counter, state = body.input((), "int32"), body.input((1, 4))
    counted_on = body.tensor((), "int32")
    body.op("ADD", [counter, body.tensor((), "int32", step)], [counted_on])
    product = body.tensor((1, 4))
    body.op("FULLY_CONNECTED", [state, body.tensor((4, 4), data=1), -1], [product])
    body.tree.outputs = [counted_on, product]
    body.tree.name = "body"
    return ModelFile(file.to_bytes())


@pytest.mark.parametrize("limit, rounds", [(13, 5), (12, 5), (4, 1), (3, 0), (-5, 0)])
def test_rounds_of_a_counting_loop(limit, rounds):
    reference = len(range(3, limit, 2))
    assert rounds == reference
    assert loop(limit).ops[0].macs == rounds * 16


def test_a_loop_that_data_ends_counts_once_and_is_listed():
    file = loop(13, counted=False)
    assert count_macs(file) == (16, 0.0)
    listed = float_ops(file)
    assert "counted once" in listed[0]
    assert (
        "how often it runs depends on data; its 16 MACs are counted once" in listed[1]
    )


def test_the_costlier_branch_of_an_if_counts():
    file = RawFile()
    main = file.graph()
    condition, state = main.input((), "bool"), main.input((1, 4))
    result = main.tensor((1, 4))
    options = schema.IfOptionsT()
    options.thenSubgraphIndex, options.elseSubgraphIndex = 1, 2
    main.op("IF", [condition, state], [result], options)
    main.tree.outputs = [result]
    for middle in (3, 7):
        branch = file.graph()
        x = branch.input((1, 4))
        hidden, out = branch.tensor((1, middle)), branch.tensor((1, 4))
        branch.op(
            "FULLY_CONNECTED", [x, branch.tensor((middle, 4), data=1), -1], [hidden]
        )
        branch.op(
            "FULLY_CONNECTED", [hidden, branch.tensor((4, middle), data=1), -1], [out]
        )
        branch.tree.outputs = [out]
    assert ModelFile(file.to_bytes()).ops[0].macs == 2 * 4 * 7


def test_subgraphs_that_run_themselves_are_refused():
    file = RawFile()
    main = file.graph()
    options = schema.WhileOptionsT()
    options.condSubgraphIndex = options.bodySubgraphIndex = 0
    state = main.input((1, 4))
    main.op("WHILE", [state], [main.tensor((1, 4))], options)
    with pytest.raises(ValueError, match="subgraph 0 runs itself"):
        ModelFile(file.to_bytes())
