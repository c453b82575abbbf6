"""Recipes: JSON round trip, defaults and clear errors."""

import json

import numpy as np
import pytest

from qsparse import NM, SRSTE, Block, Cubic, MovingAverage, Recipe
from qsparse.callbacks import PruneThenQuantize
from qsparse.planning.clock import step_of


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
        ("momentum", "`observer=MovingAverage"),
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
        observer=MovingAverage(np.float32(0.5)),
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


@pytest.mark.parametrize("momentum", [1.0, -0.1, "x"])
def test_a_moving_average_needs_a_share(momentum):
    with pytest.raises(ValueError, match="`momentum` must be"):
        MovingAverage(momentum)


def test_a_recipe_without_a_version_is_an_old_one():
    """What commit 900d456 wrote for `Recipe(momentum=0.5, update_every=3)`."""
    old = {
        "pattern": {"name": "block", "shape": [4, 4]},
        "sparsity": 0.75,
        "schedule": {"name": "cubic", "initial": 0.0, "power": 3.0},
        "estimator": {"name": "sr-ste", "decay": 0.0002},
        "quantize": True,
        "order": "S->Q",
        "prune_from": 0.0,
        "prune_until": 0.5,
        "quantize_from": 0.5,
        "freeze_statistics_from": None,
        "update_every": 3,
        "momentum": 0.5,
        "exclude": [],
        "prune_frozen": False,
        "strict": False,
    }
    wanted = Recipe(observer=MovingAverage(0.5), update_every=3, estimator=SRSTE(2e-4))
    assert Recipe.from_dict(old) == wanted
    assert wanted.to_dict()["version"] == 1
    # `momentum` is no setting of a file that has a version.
    with pytest.raises(ValueError, match="Unknown recipe keys .'momentum'"):
        Recipe.from_dict(old | {"version": 1})


@pytest.mark.parametrize("version", [2, -1, "1", None])
def test_a_version_that_nobody_knows(version):
    with pytest.raises(ValueError, match="reads versions up to 1"):
        Recipe.from_dict(Recipe().to_dict() | {"version": version})


@pytest.mark.parametrize("kind", ["criterion", "allocation", "estimator", "observer"])
def test_an_unknown_name_in_a_file_says_what_is_allowed(kind):
    config = Recipe().to_dict() | {kind: {"name": "gone", "power": 2}}
    with pytest.raises(ValueError, match=f"Unknown {kind}: expected one of.*'gone'"):
        Recipe.from_dict(config)
