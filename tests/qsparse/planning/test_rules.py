"""Rules: what they take, what they refuse, and JSON."""

import json

import keras
import pytest

from qsparse import NM, STE, Block, Magnitude, Recipe, Rule


def test_a_recipe_with_rules_survives_json():
    recipe = Recipe(
        "4x4",
        rules=[
            Rule("block_*/conv", pattern="2:4", estimator="ste"),
            Rule(regex="^stem", kind=keras.layers.Conv2D, sparsity=0.5),
            Rule(role="last", pattern="dense", quantize=False),
            Rule("head", leave_alone=True),
            Rule("*", criterion="magnitude", format="int8", observer="moving-average"),
        ],
    )
    config = json.loads(json.dumps(recipe.to_dict()))
    assert Recipe.from_dict(config) == recipe
    first, second, third, fourth, last = recipe.rules
    assert (first.pattern, first.estimator) == (NM(2, 4), STE())
    assert second.kind == "Conv2D" and second.sparsity == 0.5
    assert third.settings() == {"pattern": "dense", "quantize": False}
    assert config["rules"][3] == {"path": "head", "leave_alone": True}
    assert fourth.settings() == {} and last.criterion == Magnitude()


def test_a_recipe_may_prune_by_its_rules_only():
    recipe = Recipe(None, quantize=False, rules=[Rule("a", pattern="4x4")])
    assert recipe.prunes and not recipe.quantizes and recipe.sparsity == 0.75
    recipe = Recipe(None, 0.5, rules=[Rule("a", pattern="4x4", quantize=True)])
    assert recipe.prunes and recipe.quantizes and recipe.sparsity == 0.5
    assert recipe.needs_total_steps()
    dense = [Rule("a", pattern="dense")]
    assert not Recipe(None, rules=dense).prunes
    with pytest.raises(ValueError, match="is empty"):
        Recipe(None, quantize=False, rules=dense)
    with pytest.raises(ValueError, match="`sparsity` needs a `pattern`"):
        Recipe(None, 0.5, rules=dense)


def test_a_pattern_of_a_rule_brings_its_sparsity():
    assert Rule("a", pattern=NM(1, 4), sparsity=0.75).sparsity == 0.75
    assert Rule("a", pattern=Block()).sparsity is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"names layers by path, regex, kind, role. Received none"),
        ({"path": "a"}, r"Rule\(path='a'\) sets nothing"),
        ({"path": ""}, "`path` of a rule must be text"),
        ({"path": 3, "quantize": True}, "`path` of a rule must be text"),
        ({"regex": "(", "quantize": True}, "`regex` is no regular expression"),
        ({"role": "frist", "quantize": True}, "`role` must be one of .*'frist'"),
        ({"path": "a", "quantize": 1}, "`quantize` of a rule must be True or False"),
        ({"path": "a", "leave_alone": None}, "`leave_alone` of a rule must be"),
        ({"path": "a", "sparsity": 75}, "Write 0.75 for 75%"),
        ({"path": "a", "sparsity": 1.0}, r"the share of zeros, in \[0, 1\)"),
        ({"path": "a", "pattern": "dense", "sparsity": 0.5}, "that it leaves dense"),
        ({"path": "a", "pattern": "2:4", "sparsity": 0.3}, "2:4 fixes the sparsity"),
        ({"path": "a", "pattern": "blok"}, "Unknown pattern"),
        ({"path": "a", "leave_alone": True, "quantize": False}, "can set nothing"),
    ],
)
def test_a_bad_rule_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Rule(**settings)
    with pytest.raises(ValueError, match=f"Rule 2: .*{message}"):
        Recipe(rules=[Rule("a", quantize=False), settings])


def test_an_unknown_setting_is_named():
    with pytest.raises(TypeError, match="'sparse': that is `sparsity` here"):
        Rule("a", sparse=0.5)
    with pytest.raises(TypeError, match="no setting 'xyz'. A rule names layers by"):
        Rule("a", xyz=0.5)


@pytest.mark.parametrize("rules", [Rule("a", quantize=False), "a", {"path": "a"}, [3]])
def test_rules_are_a_list(rules):
    with pytest.raises(ValueError, match="`rules` must be a list of qsparse.Rule"):
        Recipe(rules=rules)
