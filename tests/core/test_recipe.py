"""Recipes: JSON round trip, defaults and clear errors."""

import json

import numpy as np
import pytest

from qsparse import NM, SRSTE, Block, Cubic, Recipe
from qsparse.callbacks import PruneThenQuantize
from qsparse.clock import step_of


def test_defaults():
    recipe = Recipe()
    assert recipe.pattern == Block((4, 4))
    assert recipe.sparsity == 0.75
    assert Recipe(pattern=NM(2, 4)).sparsity == 0.5


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(pattern=NM(1, 4, (4, 4)), order="Q->S", exclude=("stem", "head/*")),
        Recipe(
            pattern=None,
            estimator=SRSTE(0.1),
            schedule=Cubic(0.2),
            prune_from=3,
            prune_until=9,
        ),
    ],
)
def test_json_round_trip(recipe):
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": "SQ"}, "order.*Received: order='SQ'"),
        ({"prune_from": 0.8, "prune_until": 0.2}, "must not end before it begins"),
        ({"quantize_from": 1.5}, r"quantize_from=1.5"),
        ({"prune_from": -3}, r"prune_from=-3"),
        ({"update_every": 0}, "update_every=0"),
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"momentum": "x"}, "`momentum` must be a finite number"),
        ({"sparsity": "0.5"}, "`sparsity` must be a finite number"),
        ({"exclude": 5}, "`exclude` must be a layer name"),
        ({"sparsity": 75}, "Write 0.75 for 75%"),
        ({"pattern": "2:4", "sparsity": "50%"}, "Write 0.5 for 50%"),
        ({"prune_frozen": 1}, "`prune_frozen` must be True or False"),
        ({"quantize": "no"}, "`quantize` must be True or False"),
        ({"update_every": True}, "`update_every` must be an integer"),
        ({"sparsity": 1.0}, "sparsity=1.0"),
        ({"pattern": NM(2, 4), "sparsity": 0.75}, "2:4 fixes the sparsity at 0.5"),
        ({"pattern": None, "sparsity": 0.5}, "`sparsity` needs a `pattern`"),
        ({"pattern": None, "quantize": False}, "empty"),
        ({"schedule": "cubik"}, "Unknown schedule"),
        ({"estimator": 3}, "Unknown estimator"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)


def test_unknown_key():
    with pytest.raises(ValueError, match=r"Unknown recipe keys \['sparcity'\]"):
        Recipe.from_dict({"sparcity": 0.5})


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("target_sparsity", "`sparsity`"),
        ("final_sparsity", "`sparsity`"),
        ("initial_sparsity", "`schedule=Cubic"),
        ("begin_step", "`prune_from`"),
        ("end_step", "`prune_until`"),
        ("frequency", "`update_every`"),
        ("pruning_schedule", "`schedule`"),
        ("block_size", "`pattern=Block"),
        ("sparsity_m_by_n", '`pattern="2:4"`'),
        ("sparcity", "`sparsity`"),
    ],
)
def test_settings_of_others_are_named(theirs, ours):
    for recipe in (Recipe, PruneThenQuantize):
        with pytest.raises(TypeError, match=f"no setting '{theirs}': that is {ours}"):
            recipe(**{theirs: 0.5})


def test_numpy_scalars_survive_json():
    recipe = Recipe(
        momentum=np.float32(0.5),
        estimator=SRSTE(np.float32(1e-4)),
        schedule=Cubic(np.float64(0.5)),
        prune_until=np.int64(9),
        prune_from=0,
    )
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize("config", [None, 3, [], "x"])
def test_not_a_recipe(config):
    with pytest.raises(ValueError, match="must be a dict"):
        Recipe.from_dict(config)


def test_moments():
    assert step_of(0.5, 100) == 50
    assert step_of(7, 100) == 7


def test_excludes_by_name_and_path():
    recipe = Recipe(exclude=("stem*", "head/logits"))
    assert recipe.excludes("backbone/stem_conv")
    assert recipe.excludes("head/logits")
    assert Recipe(exclude="backbone").excludes("backbone/unit/conv")
    assert not recipe.excludes("other/logits")
