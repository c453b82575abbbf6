"""The ranking before training: each choice is what an analysis says of it."""

import json

import numpy as np
import pytest

import qsparse
from qsparse import NM, Block, Recipe
from tests.perceptron import mlp


def test_each_choice_is_what_an_analysis_says_of_it(trained, capsys):
    model, data = trained
    before = [v.numpy() for v in model.variables]
    found = qsparse.forecast(
        model, data, ["2:4", ("4x4", 0.5)], ["int3"], ["S->Q", "Q->S"]
    )
    for ours, theirs in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs)
    assert len(found.choices) == 4
    for choice in found.choices:
        recipe = Recipe(choice.pattern, choice.sparsity, format=choice.format)
        report = qsparse.analyse(model, recipe, data)
        assert choice.value == pytest.approx(report.value(choice.order), abs=1e-6)
        assert choice.damage == pytest.approx(
            choice.value - report.value("dense"), abs=1e-6
        )
    damages = [choice.damage for choice in found.choices]
    assert damages == sorted(damages)
    assert found.best == found.choices[0]
    names = {choice.name for choice in found.choices}
    assert {"2:4/50%/int3/S->Q", "4x4 blocks/50%/int3/Q->S"} <= names
    assert "4/4" in capsys.readouterr().err
    lines = str(found).splitlines()
    assert [line.split()[-1] for line in lines[2:]] == [f"{d:.4g}" for d in damages]
    json.dumps(found.to_dict(), allow_nan=False)


def test_more_is_better_of_an_accuracy_and_what_else_a_recipe_says_counts(trained):
    model, data = trained
    recipe = Recipe(exclude=("head",), criterion="random")
    found = qsparse.forecast(
        model,
        data,
        [NM(1, 4), Block((4, 4))],
        ["int8"],
        metric="accuracy",
        recipe=recipe,
        verbose=0,
    )
    for choice in found.choices:
        assert choice.damage == pytest.approx(found.dense - choice.value)
    own = Recipe(NM(1, 4), criterion="random", exclude=("head",))
    report = qsparse.analyse(model, own, data, "accuracy")
    (ours,) = (c for c in found.choices if isinstance(c.pattern, NM))
    assert ours.value == pytest.approx(report.value("S->Q"), abs=1e-6)


def test_agreement_is_of_ranks_by_name(trained):
    model, data = trained
    found = qsparse.forecast(model, data, ["2:4", "1:4"], ["int8", "int2"], verbose=0)
    losses = {choice.name: choice.damage**3 for choice in found.choices}
    assert found.agreement(losses, more_is_better=False) == pytest.approx(1.0)
    assert found.agreement(losses, more_is_better=True) == pytest.approx(-1.0)
    with pytest.raises(ValueError, match="No choice is named '4:8'. There are 2:4/50%"):
        found.agreement({"4:8": 1.0}, more_is_better=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patterns": []}, "at least one pattern, format and order"),
        ({"orders": ["S-Q"]}, r"orders are \('S->Q', 'Q->S'\)"),
        ({"formats": ["int9"]}, "`bits` must be 2 to 8"),
        ({"patterns": [("2:4", 0.75)]}, "2:4"),
        ({"patterns": "2:4"}, r"`patterns` must be a list, as \['2:4'\]"),
        ({"formats": "int8"}, r"`formats` must be a list, as \['int8'\]"),
        ({"orders": "S->Q"}, r"`orders` must be a list, as \['S->Q'\]"),
        ({"patterns": [None]}, "prunes nothing"),
        ({"recipe": "2:4"}, "`recipe` must be a qsparse.Recipe or None"),
    ],
)
def test_what_cannot_be_ranked_is_an_error(trained, changes, message):
    model, data = trained
    settings = {"patterns": ["2:4"], "formats": ["int8"], "verbose": 0} | changes
    with pytest.raises(ValueError, match=message):
        qsparse.forecast(model, data, **settings)


def test_a_model_with_a_recipe_is_not_taken(trained):
    _, data = trained
    model = mlp()
    qsparse.attach(model, Recipe("2:4"))
    with pytest.raises(ValueError, match="carries a recipe, and forecast looks at pl"):
        qsparse.forecast(model, data)


def test_pairs_may_be_lists_and_a_criterion_sees_data(trained):
    model, data = trained
    recipe = Recipe(criterion="wanda")
    found = qsparse.forecast(
        model,
        data,
        [["4x4", 0.5]],
        ["int8"],
        recipe=recipe,
        score_data=data[0][:32],
        verbose=0,
    )
    assert found.best.name == "4x4 blocks/50%/int8/S->Q"
