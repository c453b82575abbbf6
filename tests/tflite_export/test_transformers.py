"""What keeps transformers accurate in int8: against the float model, pass by pass."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.compressor import compressed_layers
from qsparse.tflite_export import calibrate, verify_file
from qsparse.tflite_export.data import collect
from qsparse.tflite_export.flatbuffer import ModelFile
from qsparse.tflite_export.freeze import freeze
from qsparse.tflite_export.neuron_groups import groups
from tests.conftest import compiled
from tests.tflite_export import models

CHANNELS, LOUD_CHANNEL, LOUD_NEURON = 32, 3, 5


@pytest.fixture(scope="module")
def rows(images):
    """Return 48 images as 28 tokens of 28 values."""
    return images[0][:48, :, :, 0]


def gelu(approximate):
    return layers.Activation(tanh_gelu if approximate else "gelu")


def tanh_gelu(x):
    return keras.activations.gelu(x, approximate=True)


def transformer(order="pre", approximate=False, scale=1.0, neuron=1.0):
    """Return one block whose stream has a loud channel, its layer a loud neuron."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((28, 28))
    x = layers.Dense(CHANNELS, name="embed")(inputs)
    x = layers.Add()([x, layers.Dense(CHANNELS)(inputs)])
    attention = layers.MultiHeadAttention(4, 8)
    feed = [
        layers.Dense(64, name="first"),
        gelu(approximate),
        layers.Dense(CHANNELS, name="second"),
    ]
    norms = [layers.LayerNormalization() for _ in range(3)]
    y = norms[0](x)
    x = x if order == "pre" else y
    x = layers.Add()([x, attention(y, y)])
    x = x if order == "pre" else norms[1](x)
    y = norms[1](x) if order == "pre" else x
    for layer in feed:
        y = layer(y)
    x = norms[2](layers.Add()([x, y]))
    model = models.randomized(keras.Model(inputs, layers.Dense(10)(x)))
    for norm in norms:
        if norm.built:
            # As training leaves it: no channel drowns the others behind it.
            norm.gamma.assign(np.full(CHANNELS, max(scale / 6, 1)))
            enlarge(norm, LOUD_CHANNEL, min(2 / scale, 1))
    enlarge(model.get_layer("embed"), LOUD_CHANNEL, scale)
    enlarge(model.get_layer("first"), LOUD_NEURON, neuron)
    kernel = model.get_layer("second").kernel
    shares = np.where(np.arange(64) == LOUD_NEURON, 1 / neuron, 1.0)
    kernel.assign(kernel.numpy() * shares[:, None])
    return model


def enlarge(layer, channel, factor):
    for variable in layer.weights:
        value = variable.numpy()
        value[..., channel] *= factor
        variable.assign(value)


def masked_by(how):
    """Return attention over the first tokens only, the others hidden by -1e9."""
    keras.utils.set_random_seed(5)
    inputs, mask = keras.Input((28, 28), name="a"), keras.Input((28,), name="b")
    x = layers.Dense(CHANNELS)(inputs)
    if how == "attention_mask":
        x = layers.MultiHeadAttention(4, 8)(x, x, attention_mask=mask[:, None, :])
    else:
        q, k = (layers.Dense(CHANNELS, name=name)(x) for name in ("query", "key"))
        v = layers.Dense(CHANNELS)(x)
        scores = keras.ops.matmul(q, keras.ops.swapaxes(k, 1, 2))
        if how == "softmax":
            scores = layers.Softmax()(scores, mask=mask[:, None, :] > 0.5)
        else:
            hidden = (1.0 - mask)[:, None, :] * -1e9
            if how == "two_large":
                hidden = mask[:, None, :] * 1e9 - 1e9
            scores = scores + hidden
            if how == "two":  # and none looks ahead: a constant
                scores = scores + np.triu(np.full((28, 28), -1e9, np.float32), 1)
            scores = layers.Softmax()(scores)
        x = keras.ops.matmul(scores, v)
    model = models.randomized(keras.Model([inputs, mask], layers.Dense(10)(x)))
    for variable in model.weights:  # scores wide enough to choose between tokens
        if "query" in variable.path or "key" in variable.path:
            variable.assign(variable * 3)
    return model


def file_error(model, data, path, **arguments):
    """Return the mean error of a file against the float model, in parts of its std."""
    arguments = {"inference_type": "float32", "min_sqnr": -200, **arguments}
    report = qsparse.export(model, path, data, **arguments)
    arrays = data if isinstance(data, list) else [data]
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    names = sorted(run.get_input_details())
    got = np.concatenate(
        [
            run(**{n: a[i : i + 1] for n, a in zip(names, arrays, strict=True)})[
                "output"
            ]
            for i in range(len(arrays[0]))
        ]
    )
    wanted = model.predict(data, verbose=0)
    return float(np.abs(got - wanted).mean() / wanted.std()), report


def nothing(*arguments):
    return set()


@pytest.mark.parametrize(
    "order, approximate", [("pre", False), ("post", True)], ids=["pre", "post"]
)
def test_a_loud_channel_and_neuron_cost_no_accuracy(
    order, approximate, rows, tmp_path, monkeypatch
):
    model = transformer(order, approximate, scale=100.0, neuron=50.0)
    path = tmp_path / "m.tflite"
    error, _ = file_error(model, rows, path)
    for name in ("scale_channels", "smooth", "group_neurons", "float_sums"):
        monkeypatch.setattr(calibrate, name, nothing)
    without, _ = file_error(model, rows, path)
    assert error < 0.12
    assert without > 3 * error


@pytest.mark.parametrize("name", ["scale_channels", "group_neurons"])
def test_each_pass_is_needed(name, rows, tmp_path, monkeypatch):
    loud = {"scale_channels": {"scale": 100.0}, "group_neurons": {"neuron": 50.0}}
    model = transformer(**loud[name])
    error, _ = file_error(model, rows, tmp_path / "m.tflite")
    monkeypatch.setattr(calibrate, name, nothing)
    without, _ = file_error(model, rows, tmp_path / "m.tflite")
    assert error < 0.12
    assert without > 1.5 * error


def stream(final, use_bias):
    """Return a pre-norm stream with a loud channel that ends in a layer, or a norm."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((28, 28))
    x = layers.Dense(CHANNELS, use_bias=use_bias, name="loud")(inputs)
    for index in range(2):
        y = layers.LayerNormalization()(x)
        y = layers.Dense(64, activation="gelu", use_bias=use_bias)(y)
        x = x + layers.Dense(CHANNELS, use_bias=use_bias, name=f"loud_{index}")(y)
    x = layers.LayerNormalization()(x) if final == "norm" else x
    x = layers.GlobalAveragePooling1D()(x) if final == "pool" else x
    model = keras.Model(inputs, layers.Dense(10, use_bias=use_bias)(x))
    for layer in model.layers:
        if layer.name.startswith("loud"):
            layer.kernel.assign(layer.kernel * loudness(100.0))
    if final != "norm":
        kernel = model.layers[-1].kernel
        kernel.assign(kernel / loudness(100.0)[:, None])
    return model


def loudness(scale):
    return np.where(np.arange(CHANNELS) == LOUD_CHANNEL, scale, 1.0)


@pytest.mark.parametrize("final", ["norm", "layer", "pool"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_streams_keep_small_channels(final, use_bias, rows, tmp_path, monkeypatch):
    model, path = stream(final, use_bias), tmp_path / "m.tflite"
    error, _ = file_error(model, rows, path)
    for name in ("scale_channels", "smooth", "float_sums"):
        monkeypatch.setattr(calibrate, name, nothing)
    without, _ = file_error(model, rows, path)
    assert error < 0.08
    assert without > 3 * error


@pytest.mark.parametrize(
    "sizes, counts",
    [
        ([1.0] * 64, []),
        ([1.0] * 62 + [9.0, 25.0], [62, 2]),
        ([2.0] * 512 + [6.0] * 64, [512, 64]),
        ([2.0] * 512 + [6.0] * 63 + [25.0], [512, 63, 1]),
        (list(np.linspace(1.0, 1.3, 256)), []),
        ([0.0] * 48, []),
        ([3.0], []),
    ],
)
def test_neurons_of_like_size_make_a_group(sizes, counts):
    shuffled = np.random.default_rng(0).permutation(sizes)
    group = groups(shuffled)
    assert [int((group == n).sum()) for n in range(int(group.max(initial=-1)) + 1)] == (
        counts
    )
    for n in range(1, len(counts)):
        assert shuffled[group == n].min() >= shuffled[group == n - 1].max()


def test_groups_multiply_no_more_than_the_whole_layer(rows, tmp_path, monkeypatch):
    model, path = transformer(neuron=50.0), tmp_path / "m.tflite"
    _, report = file_error(model, rows, path)
    monkeypatch.setattr(calibrate, "group_neurons", nothing)
    _, whole = file_error(model, rows, path)
    # A product with one neuron is a MUL, which has none.
    assert 0.99 * whole.macs < report.macs <= whole.macs and whole.int8_share == 1.0
    assert 0.99 < report.int8_share < 1.0  # the loud one is in float
    assert 1 <= len(report.float_ops) <= 2


@pytest.mark.parametrize(
    "how", ["attention_mask", "softmax", "additive", "two", "two_large"]
)
def test_masks_leave_scores_their_range(how, rows, tmp_path, monkeypatch):
    lengths = np.random.default_rng(0).integers(6, 28, len(rows))
    mask = (np.arange(28) < lengths[:, None]).astype(np.float32)
    model, path = masked_by(how), tmp_path / "m.tflite"
    error, _ = file_error(model, [rows, mask], path)
    assert error < 0.05
    if how == "softmax":  # selected on one scale
        assert not any(
            op.name == "QUANTIZE" and op.inputs[0].dtype == np.int8
            for op in ModelFile(path).ops
        )
    if how == "two":
        return  # without the passes LiteRT aborts: it cannot add on such scales
    monkeypatch.setattr(calibrate, "score_tensors", lambda graph: {})
    monkeypatch.setattr(calibrate, "factor_masks", nothing)
    monkeypatch.setattr(calibrate, "limit_masks", nothing)
    monkeypatch.setattr(calibrate, "limit_constant_masks", nothing)
    try:
        without, _ = file_error(model, [rows, mask], path)
    except RuntimeError:  # so far off that nothing is written
        without = np.inf
    assert without > 2 * error


def test_a_select_hides_what_it_hides(rows, tmp_path):
    """Neither infinities nor large numbers reach the range of what is left."""
    keras.utils.set_random_seed(5)
    a, b = keras.Input((28, 28), name="a"), keras.Input((28, 28), name="b")
    ratio = keras.ops.where(b > 0.5, a / b, 0.0)
    model = keras.Model([a, b], layers.Dense(10)(ratio))
    error, _ = file_error(model, [rows, np.round(rows)], tmp_path / "m.tflite")
    assert error < 0.05


def test_scores_that_two_selects_read_keep_their_range(rows, tmp_path):
    keras.utils.set_random_seed(5)
    a, b = keras.Input((28, 28), name="a"), keras.Input((28, 28), name="b")
    scores = layers.Dense(28)(a) * 8.0
    likely = layers.Softmax()(keras.ops.where(b > 0.5, scores, -1e9))
    model = keras.Model([a, b], [likely, keras.ops.where(b > 0.5, scores, 0.0)])
    mask = (rows > np.median(rows)).astype(np.float32)
    path = tmp_path / "m.tflite"
    qsparse.export(model, path, [rows, mask], inference_type="float32")
    wanted = model.predict([rows, mask], verbose=0)
    run = Interpreter(str(path))
    run.allocate_tensors()
    signature = run.get_signature_runner()
    found = [signature(a=x[None], b=m[None]) for x, m in zip(rows, mask, strict=True)]
    for name, expected in zip(sorted(found[0]), wanted, strict=True):
        got = np.concatenate([output[name] for output in found])
        assert np.abs(got - expected).max() < 0.06 * np.ptp(expected)


def rewritten(model, data, monkeypatch):
    """Return by how much each pass moves the float outputs, and if it did a thing."""
    samples = collect(model, data)
    graph = freeze(model, samples.specs, samples.structure)
    moved, changed = {}, {}

    def watched(name, rewrite):
        def run(graph, *arguments):
            before, size = graph.function()(*samples.batches[0]), len(graph.nodes)
            result = rewrite(graph, *arguments)
            after = graph.function()(*samples.batches[0])
            moved[name] = max(
                float(np.abs(before[key] - after[key]).max() / np.std(before[key]))
                for key in before
            )
            changed[name] = len(graph.nodes) != size
            return result

        return run

    for name in ("group_neurons", "smooth", "scale_channels", "means_to_sums"):
        monkeypatch.setattr(calibrate, name, watched(name, getattr(calibrate, name)))
    calibrate.quantize_activations(graph, samples.batches)
    return moved, changed


@pytest.mark.parametrize("order", ["pre", "post"])
def test_every_rewriting_keeps_the_function(order, rows, monkeypatch):
    model = transformer(order, scale=100.0, neuron=50.0)
    for norm in (x for x in model.layers if "normalization" in x.name):
        enlarge(norm, 7, 30.0)
    moved, changed = rewritten(model, rows, monkeypatch)
    assert all(changed.values()), changed
    # Sums of values a hundred times apart, in an order that the CPU chooses.
    assert max(moved.values()) < 1e-3, moved


def seen_elsewhere(what):
    """Return a model in which something else reads what a pass would change."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((28, 28))
    first = layers.Dense(64, name="first")
    hidden, norm = first(inputs), layers.LayerNormalization()
    middle = layers.Reshape((28, 8, 8))(hidden) if what == "torn" else hidden
    shut = layers.Reshape((28, 64))(gelu(False)(middle))
    second = layers.Dense(28, name="second")(shut)
    stream = layers.Reshape((28, 28))(layers.Reshape((784,))(second))
    stream = layers.Add()([inputs, stream])
    if what == "scalar":
        stream = layers.Add()([inputs, stream + 0.5])
    flat = layers.Reshape((2, 14, 28))(norm(stream))
    outputs = {"output": layers.Dense(4)(flat)}
    more = {"branch": hidden, "result": second, "moved": flat}
    if what == "branch":
        outputs["more"] = layers.Dense(3)(hidden)
    elif what in ("result", "moved"):
        outputs["more"] = more[what]
    model = models.randomized(keras.Model(inputs, outputs))
    enlarge(first, LOUD_NEURON, 20.0)
    enlarge(model.get_layer("second"), LOUD_CHANNEL, 100.0)
    norm.gamma.assign(np.where(np.arange(28) == 3, 50.0, 1.0))
    return model


@pytest.mark.parametrize("what", ["branch", "result", "moved", "torn", "scalar"])
def test_what_is_seen_elsewhere_stays_what_it_is(what, rows, monkeypatch):
    moved, _ = rewritten(seen_elsewhere(what), rows, monkeypatch)
    # Sums of values a hundred times apart, in an order that the CPU chooses.
    assert max(moved.values()) < 1e-3, moved


def test_a_layer_called_twice_is_scaled_for_both(rows, monkeypatch):
    keras.utils.set_random_seed(5)
    inputs = keras.Input((28, 28))
    shared, x = layers.Dense(28, name="shared"), inputs
    for _ in range(2):
        x = layers.Add()([x, shared(layers.LayerNormalization()(x))])
    x = layers.Dense(4)(layers.LayerNormalization()(x))
    model = models.randomized(keras.Model(inputs, x))
    enlarge(shared, LOUD_CHANNEL, 100.0)
    moved, changed = rewritten(model, rows, monkeypatch)
    assert changed["scale_channels"] and max(moved.values()) < 1e-4, moved


def test_ranges_end_early_only_where_softmax_alone_reads(rows):
    inputs = keras.Input((28, 28))
    x = layers.Dense(
        8, kernel_initializer=keras.initializers.RandomNormal(stddev=5, seed=1)
    )(inputs)
    outputs = [x, layers.Softmax()(x), gelu(False)(x), x * keras.ops.tanh(x)]
    model = keras.Model(inputs, outputs)
    samples = collect(model, rows)
    graph = freeze(model, samples.specs, samples.structure)
    ranges = calibrate.quantize_activations(graph, samples.batches)
    least = model.predict(rows, verbose=0)[0].min()
    assert least < -12
    assert min(r.low for r in ranges.values()) <= 0.99 * least


def test_right_sides_of_products_have_a_zero_point_of_zero(rows, tmp_path):
    _, report = file_error(transformer(), rows, tmp_path / "m.tflite")
    products = [op for op in ModelFile(report.path).ops if op.name == "BATCH_MATMUL"]
    assert len(products) == 2
    assert [int(op.inputs[1].zero_points[0]) for op in products] == [0, 0]


@pytest.fixture(scope="module")
def trained(images, rows, tmp_path_factory):
    """Return the folder of a trained transformer with outliers, and the model."""
    folder = tmp_path_factory.mktemp("transformer")
    keras.utils.set_random_seed(5)
    model = compiled(transformer(scale=30.0, neuron=8.0))
    x = images[0][:128, :, :, 0]
    y = np.repeat(images[1][:128, None], 28, axis=1)
    callback = PruneThenQuantize(exclude=["first"])
    model.fit(x, y, epochs=2, verbose=0, callbacks=[callback])
    model.save(folder / "m.keras")
    # It is far from Keras, which is still to be explained; these tests are about
    # integers and about finding the same graph again.
    qsparse.export(model, folder / "m.tflite", rows, min_sqnr=-200)
    np.savez(folder / "data.npz", x=rows[:8])
    return folder, model


def test_trained_integers_are_those_of_the_file(trained):
    folder, model = trained
    file = ModelFile(folder / "m.tflite")
    tensors = {tensor.name: tensor for tensor in file.tensors}
    found = {entry["path"]: entry["tensor"] for entry in file.metadata()["layers"]}
    checked = 0
    for layer in compressed_layers(model):
        values, _ = layer.integer_weights()
        stored = tensors[found[layer.path_in_model]].data.reshape(values.shape)
        np.testing.assert_array_equal(stored, values)
        checked += 1
    assert checked >= 3


def test_a_file_is_verified_again(trained, rows):
    folder, _ = trained
    made = any(
        any(entry) for entry in ModelFile(folder / "m.tflite").metadata()["choices"]
    )
    assert made
    found = verify_file(
        folder / "m.keras", folder / "m.tflite", rows[:8], min_sqnr=-200
    )
    assert found.failures == []


def test_another_process_finds_the_same(trained):
    folder, _ = trained
    script = (
        "import sys, numpy as np; from qsparse.tflite_export import verify_file\n"
        "x = np.load('data.npz')['x']\n"
        "found = verify_file('m.keras', 'm.tflite', x, min_sqnr=-200)\n"
        "print(found.failures, max(t.local.max_lsb for t in found.tensors))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": "7", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert result.returncode == 0, result.stderr
    here = verify_file(
        folder / "m.keras", folder / "m.tflite", np.load(folder / "data.npz")["x"]
    )
    worst = max(t.local.max_lsb for t in here.tensors)
    assert result.stdout.split() == ["[]", str(worst)]


def changed_choices(choices, how):
    full = next(i for i, entry in enumerate(choices) if any(entry))
    place = next(i for i, text in enumerate(choices[full]) if text)
    if how == "fewer":
        return choices[:-1]
    if how == "more":
        return [*choices, []]
    if how == "short":
        choices[full][place] = choices[full][place][:8]
    elif how == "text":
        choices[full][place] = "no base64!"
    elif how == "zeros":
        choices[full][place] = "AAAA" * (len(choices[full][place]) // 4)
    elif how == "entry":
        choices[full].append("")
    elif how == "number":
        choices[full][place] = 7
    else:
        return {"null": None, "words": "words", "object": {"a": 1}}[how]
    return choices


@pytest.mark.parametrize(
    "how",
    [
        *("gone", "fewer", "more", "short", "text", "zeros", "entry", "number"),
        *("null", "words", "object"),
    ],
)
def test_damaged_choices_are_refused(how, trained, rows, tmp_path):
    folder, model = trained
    file = ModelFile(folder / "m.tflite")
    metadata = json.loads(json.dumps(file.metadata()))
    if how == "gone":
        del metadata["choices"]
    else:
        metadata["choices"] = changed_choices(metadata["choices"], how)
    file.set_metadata(metadata)
    (tmp_path / "m.tflite").write_bytes(file.to_bytes())
    with pytest.raises(ValueError, match=r"m\.tflite.*(E|e)xport"):
        verify_file(model, tmp_path / "m.tflite", rows[:2])
