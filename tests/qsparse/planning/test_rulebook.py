"""Which rule speaks of which layer, and what then holds for it."""

import keras
import pytest
from keras import layers

import qsparse
from qsparse import NM, STE, Block, Recipe, Rule, Unstructured
from tests import models


@pytest.fixture(scope="module")
def net():
    """Return a network with parts, a depthwise convolution and two outputs."""
    x = keras.Input((16, 16, 4), name="image")
    y = layers.Conv2D(16, 3, name="stem")(x)
    body = keras.Sequential(
        [
            keras.Input((14, 14, 16)),
            layers.Conv2D(16, 1, name="narrow"),
            layers.DepthwiseConv2D(3, name="depth"),
            layers.Conv2D(32, 1, name="wide"),
        ],
        name="body",
    )
    y = layers.GlobalAveragePooling2D(name="pool")(body(y))
    ends = [layers.Dense(8, name="classes")(y), layers.Dense(4, name="boxes")(y)]
    return keras.Model(x, ends, name="net")


@pytest.fixture(scope="module")
def encoder():
    """Return an encoder of one block, built of plain layers and attention."""
    tokens = keras.Input((12,), dtype="int32")
    x = layers.Embedding(50, 16, name="tokens")(tokens)
    x = x + layers.MultiHeadAttention(2, 8, name="mixing")(x, x)
    y = layers.Dense(32, "relu", name="grow")(x)
    x = x + layers.Dense(16, name="shrink")(y)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(tokens, layers.Dense(8, name="head")(x), name="encoder")


def plans(model, *rules, recipe=None, **settings):
    settings = {"pattern": "4x4", **settings}
    recipe = recipe or Recipe(rules=rules, **settings)
    return {plan.path: plan for plan in qsparse.resolve(model, recipe)}


def changed(model, rule):
    """Return the layers that a rule sets a pattern for."""
    found = plans(model, rule)
    return {path for path, plan in found.items() if plan.pattern == Unstructured()}


@pytest.mark.parametrize(
    ("where", "paths"),
    [
        ({"path": "stem"}, {"stem"}),
        ({"path": "body"}, {"body/narrow", "body/wide"}),
        ({"path": "body/*e"}, {"body/wide"}),
        ({"path": "wide"}, {"body/wide"}),
        ({"path": "*"}, {"stem", "body/narrow", "body/wide", "classes", "boxes"}),
        ({"regex": "w$|^bo[xd]"}, {"body/narrow", "body/wide", "boxes"}),
        ({"kind": "Dense"}, {"classes", "boxes"}),
        ({"kind": "Sequential"}, {"body/narrow", "body/wide"}),
        ({"kind": "Conv*"}, {"stem", "body/narrow", "body/wide"}),
        ({"kind": layers.Conv2D, "path": "body"}, {"body/narrow", "body/wide"}),
        ({"role": "first"}, {"stem"}),
        ({"role": "last"}, {"classes", "boxes"}),
        ({"role": "last", "path": "box*"}, {"boxes"}),
    ],
)
def test_layers_are_named(where, paths, net):
    assert changed(net, Rule(**where, pattern="unstructured")) == paths


def test_roles_of_a_transformer(encoder):
    def paths(role):
        return changed(encoder, Rule(role=role, pattern="unstructured"))

    inside = {"query", "key", "value", "attention_output"}
    assert paths("attention") == {f"mixing/{name}" for name in inside}
    assert paths("feed_forward") == {"grow", "shrink"}
    assert paths("last") == {"head"}
    alone = plans(encoder, Rule(role="embedding", leave_alone=True))
    assert alone["tokens"].reason == "left alone by rule 1"
    # The first layer with weights is the table of tokens.
    assert paths("first") == set()


def test_roles_of_a_keras_hub_encoder():
    model, recipe = models.bert(), Recipe(rules=[Rule(role="attention", pattern="2:4")])
    found = plans(model, recipe=recipe)
    two_four = {path for path, plan in found.items() if plan.pattern == NM(2, 4)}
    assert two_four and all("self_attention" in path for path in two_four)
    recipe = Recipe(rules=[Rule(role="feed_forward", pattern="2:4")])
    found = plans(model, recipe=recipe)
    two_four = {path for path, plan in found.items() if plan.pattern == NM(2, 4)}
    assert len(two_four) and all("feedforward" in path for path in two_four)


def test_a_name_of_attention_is_enough():
    inputs = keras.Input((8, 16))
    x = layers.Dense(16, name="self_attn_q")(inputs)
    model = keras.Model(inputs, layers.Dense(16, name="up")(x))
    assert changed(model, Rule(role="attention", pattern="unstructured")) == {
        "self_attn_q"
    }


def test_the_last_rule_counts_for_each_setting(net):
    found = plans(
        net,
        Rule("body", pattern="unstructured", sparsity=0.9, estimator="ste"),
        Rule("wide", sparsity=0.25),
        Rule("narrow", pattern="2:4"),
        Rule("narrow", sparsity=0.5),
    )
    wide, narrow, stem = found["body/wide"], found["body/narrow"], found["stem"]
    assert (wide.pattern, wide.sparsity) == (Unstructured(), 0.25)
    assert wide.estimator == STE() and wide.rules == (1, 2)
    assert wide.conflicts == ("sparsity: rule 2 overrules rule 1",)
    assert (narrow.pattern, narrow.sparsity) == (NM(2, 4), 0.5)
    assert (stem.pattern, stem.sparsity, stem.rules) == (Block((4, 4)), 0.75, ())


def test_a_layer_is_left_alone_and_taken_back(net):
    found = plans(
        net,
        Rule("body", leave_alone=True),
        Rule("wide", sparsity=0.5),
        Rule("stem", pattern="dense"),
        exclude="boxes",
    )
    assert found["body/narrow"].reason == "left alone by rule 1"
    assert not found["body/narrow"].compresses
    assert not found["body/depth"].compresses
    assert found["body/wide"].sparsity == 0.5
    assert found["body/wide"].conflicts == ("leave_alone: rule 2 overrules rule 1",)
    stem = found["stem"]
    assert stem.reason == "dense by rule 3" and stem.weight_format is not None
    assert found["boxes"].reason == "excluded by the recipe"
    over = plans(net, Rule("boxes", pattern="2:4"), exclude="boxes")["boxes"]
    assert not over.prunes and over.conflicts == ("exclude overrules rule 1",)


def test_quantization_is_set_by_layer(net):
    found = plans(net, Rule("stem", quantize=False))
    assert found["stem"].prunes and not found["stem"].quantizes
    assert found["classes"].quantizes
    found = plans(net, Rule("stem", quantize=True), quantize=False)
    assert found["stem"].quantizes and not found["classes"].quantizes


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            Rule("body/narow", pattern="2:4"),
            r"Rule 1, Rule\(path='body/narow'\), matches no layer of model 'net'. By "
            "path, the nearest are body/narrow",
        ),
        (Rule("clases", quantize=False), "the nearest are classes"),
        (Rule(regex="zzzz", quantize=False), "this model has image, stem, body, body/"),
        (Rule(kind="LSTM", quantize=False), "are Conv2D, Dense, DepthwiseConv2D, Glo"),
        (
            Rule(role="attention", quantize=False),
            "has layers of the roles first, last, depthwise",
        ),
        (
            Rule("stem", kind="Dense", quantize=False),
            "All that the rule says has to hold for one layer",
        ),
    ],
)
def test_a_rule_for_no_layer_is_refused(rule, message, net):
    for act in (qsparse.attach, qsparse.preview):
        with pytest.raises(ValueError, match=message):
            act(net, Recipe(rules=[rule]))
    assert qsparse.tflite_export and not any(
        hasattr(layer, "qsparse") for layer in net.layers
    )


def test_a_sparsity_without_a_pattern_is_refused(net):
    rules = [Rule("wide", sparsity=0.5), Rule("stem", pattern="4x4")]
    with pytest.raises(ValueError, match="for layer 'body/wide'.*Give the rule a patt"):
        plans(net, *rules, pattern=None)
    rules = [Rule("wide", pattern="2:4"), Rule("wide", sparsity=0.75)]
    with pytest.raises(ValueError, match="layer 'body/wide' has 2:4 fixes the spars"):
        plans(net, *rules)
    rules = [Rule("wide", sparsity=0.5), Rule("wide", pattern="dense")]
    wide = plans(net, *rules)["body/wide"]
    assert not wide.prunes and wide.conflicts == ("sparsity: rule 2 overrules rule 1",)


def test_only_layers_that_could_be_pruned_need_a_pattern(net):
    rules = [Rule(kind="Dense", pattern="4x4"), Rule("*", sparsity=0.5)]
    with pytest.raises(ValueError, match="for layer 'stem'.*Give the rule a pattern"):
        plans(net, *rules, pattern=None)
    others = [Rule("stem", leave_alone=True), Rule("body", leave_alone=True)]
    found = plans(net, *rules, *others, pattern=None)
    assert found["classes"].sparsity == found["boxes"].sparsity == 0.5


def test_an_expression_that_never_ends_is_refused():
    for regex in ("(a+)+$", "(x*y*)*", "((a{2,})){3,}", "a" * 300):
        with pytest.raises(ValueError, match="`regex` must have at most 256 char"):
            Rule(regex=regex, quantize=False)
    Rule(regex=r"^block_(\d+)/(conv|dense)$", quantize=False)
