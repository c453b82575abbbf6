"""The recipe: everything that defines how a model is compressed."""

from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from fnmatch import fnmatch
from numbers import Integral
from typing import Any

from qsparse.methods import METHODS
from qsparse.methods.allocations import Uniform
from qsparse.methods.criteria import Magnitude
from qsparse.methods.formats import Int8, check_activations
from qsparse.methods.observers import MovingAverage
from qsparse.methods.patterns import Block, check_sparsity
from qsparse.methods.schedules import Cubic
from qsparse.methods.validate import real, whole
from qsparse.planning.rules import Rule, as_rules

# Of the dict that `Recipe.to_dict` writes. A new setting with a default needs no new
# version; one that is renamed or means something else does, and a line in `_upgraded`.
VERSION = 1
ORDERS = ("S->Q", "Q->S")
# Methods that a recipe may do without.
_OPTIONAL = ("pattern", "estimator", "regrowth", "activations")
# Share of zeros where nobody says, and the pattern implies none.
_USUAL_SPARSITY = 0.75
Moment = float | int
# What others call our settings; TFMOT's names above all.
_ELSEWHERE = {
    "target_sparsity": "`sparsity`",
    "final_sparsity": "`sparsity`",
    "initial_sparsity": "`schedule=Cubic(initial)`, a share of the final sparsity",
    "begin_step": "`prune_from`",
    "end_step": "`prune_until`",
    "frequency": "`update_every`",
    "power": "`schedule=Cubic(power=...)`",
    "pruning_schedule": "`schedule`, `prune_from` and `prune_until`",
    "block_size": "`pattern=Block((outputs, inputs))`",
    "block_pooling_type": "nothing: blocks are scored by their sum of |w|",
    "momentum": "`observer=MovingAverage(momentum)`",
    "m_by_n": '`pattern="2:4"`',
    "sparsity_m_by_n": '`pattern="2:4"`',
}


def _moment(name: str, moment: Any) -> Moment:
    value = whole(name, moment) if isinstance(moment, Integral) else real(name, moment)
    if value < 0 or (isinstance(value, float) and value > 1.0):
        raise ValueError(
            f"`{name}` must be a share of training (a float in [0, 1]) or a step "
            f"(an int, not negative). Received: {name}={moment!r}"
        )
    return value


def _names(exclude: Any) -> tuple[str, ...]:
    entries = (exclude,) if isinstance(exclude, str) else exclude
    listed = isinstance(entries, list | tuple)
    if not listed or not all(isinstance(entry, str) for entry in entries):
        raise ValueError(
            "`exclude` must be a layer name or a list of them. "
            f"Received: exclude={exclude!r}"
        )
    return tuple(entries)


@dataclass(frozen=True)
class Recipe:
    """How a model is compressed, as plain data that survives JSON.

    Attributes:
        pattern: a pattern, its name, text like "4x4", "16x4", "2:4" or "2:4 of 4x4",
            or None to leave every weight.
        sparsity: share of zeros in [0, 1) per pruned layer; a small one may end
            with fewer, as every output keeps weights. Under every allocation but
            `Uniform` it is the share of all pruned layers together. None means what an
            `NM` pattern implies, and 0.75 for the others.
        criterion: what scores the weights; the lowest scores are pruned. Some look at
            data, which a recipe does not hold: `score_data` of the callbacks and of
            `qsparse.attach`.
        allocation: how the sparsity is shared out among layers.
        schedule: how sparsity grows from `prune_from` to `prune_until`. A function of
            the progress, as `lambda progress: progress**2`, is sampled; it returns the
            share of the final sparsity.
        estimator: how gradients pass the mask. None, the default, takes for each layer
            what was best for its pattern in docs/baselines.md: `STE` for N:M that keeps
            half or more, and where the criterion or the regrowth looks at gradients;
            else `Masked`.
        regrowth: how masks move at one sparsity, as `RigL` does; None selects them
            anew by the criterion.
        quantize: whether to train with fake quantization.
        format: what weights are rounded to, and what flows into layers.
        activations: another format for what flows into layers, and out of the model;
            None: the same.
        order: `"S->Q"` quantizes the pruned weight, `Q(S(w))`; `"Q->S"` prunes
            the quantized weight, `S(Q(w))`, and scores |Q(w)|.
        prune_from, prune_until, quantize_from: a share of training (float in
            [0, 1]) or a step (int). Masks stay frozen after `prune_until`.
        freeze_statistics_from: moment from which every BatchNormalization uses its
            moving statistics in training too, as the exported file will; only while
            quantizing. None, the default, never does: statistics that go on following
            the weights were better (88.4% against 86.4% from 0.9 on, in the demo's
            1,000 steps), and only long trainings let them settle. A share counts only
            where the length of training is known.
        freeze_ranges_from: moment from which activation ranges stay what they are, and
            only weights train on, with the very ranges that the file will have; those
            of outputs too, which then clip. Not before `quantize_from`. A range that
            is unknown then is found by the first step that brings it something, and
            stays that. Not with an observer that trains ranges, as `LSQ` does. None,
            the default, never freezes them. After `qsparse.one_shot` the moment is
            over.
        update_every: steps between two mask selections while pruning. None
            means a fiftieth of the pruning phase, at least 1 and at most 100.
        observer: how activation ranges follow what each step brings.
        exclude: shell patterns of names or paths of layers to leave alone, with
            everything inside them.
        rules: what is different for some layers, a list of `qsparse.Rule`; of several
            that set the same for a layer the last one counts. `exclude` is above them.
        prune_frozen: whether layers with `trainable=False` are pruned too. They cannot
            make up for it: a frozen base fell from 100% to 46%. Either way they are
            quantized; but not a frozen model that no known graph uses, as a teacher.
        strict: raise if a layer that multiplies by weights cannot be pruned, instead
            of reporting it. What is excluded or frozen is left on purpose; embeddings
            and depthwise convolutions have no sums that a pattern could thin out.

    Pattern, criterion, allocation, schedule, estimator, regrowth, formats and observer
    may be given as an instance or by name; `qsparse.register` adds to what there is.

    Raises:
        ValueError: on any value outside the ranges above.
        TypeError: on a keyword that is no setting; it names the one that was meant.
    """

    pattern: Any = field(default_factory=Block)
    sparsity: float | None = None
    criterion: Any = field(default_factory=Magnitude)
    allocation: Any = field(default_factory=Uniform)
    schedule: Any = field(default_factory=Cubic)
    estimator: Any = None
    regrowth: Any = None
    quantize: bool = True
    format: Any = field(default_factory=Int8)
    activations: Any = None
    order: str = "S->Q"
    prune_from: Moment = 0.0
    prune_until: Moment = 0.5
    quantize_from: Moment = 0.5
    freeze_statistics_from: Moment | None = None
    freeze_ranges_from: Moment | None = None
    update_every: int | None = None
    observer: Any = field(default_factory=MovingAverage)
    exclude: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    prune_frozen: bool = False
    strict: bool = False

    def __new__(cls, *args: Any, **settings: Any) -> "Recipe":
        """Name the setting that was meant, where a keyword is none."""
        for unknown in settings.keys() - cls.__dataclass_fields__.keys():
            raise TypeError(f"Recipe has no setting {_meant(unknown)}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        for name, registry in METHODS.items():
            if getattr(self, name) is not None or name not in _OPTIONAL:
                put(name, registry.get(getattr(self, name)))
        check_activations(self.activations)
        put("exclude", _names(self.exclude))
        put("rules", as_rules(self.rules))
        if self.pattern is not None:
            default = None if hasattr(self.pattern, "n") else _USUAL_SPARSITY
            wanted = default if self.sparsity is None else self.sparsity
            put("sparsity", self.pattern.final_sparsity(wanted))
        elif self.prunes:
            wanted = _USUAL_SPARSITY if self.sparsity is None else self.sparsity
            put("sparsity", check_sparsity(wanted, "A recipe"))
        elif self.sparsity is not None:
            raise ValueError(
                "`sparsity` needs a `pattern`. "
                f"Received: pattern=None, sparsity={self.sparsity}"
            )
        elif not self.quantizes:
            raise ValueError("A recipe with pattern=None and quantize=False is empty.")
        if self.order not in ORDERS:
            raise ValueError(
                f"`order` must be one of {ORDERS}. Received: order={self.order!r}"
            )
        for name in ("quantize", "prune_frozen", "strict"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(
                    f"`{name}` must be True or False. "
                    f"Received: {name}={getattr(self, name)!r}"
                )
        for name in ("prune_from", "prune_until", "quantize_from"):
            put(name, _moment(name, getattr(self, name)))
        for name in ("freeze_statistics_from", "freeze_ranges_from"):
            if getattr(self, name) is not None:
                put(name, _moment(name, getattr(self, name)))
        same_kind = type(self.prune_from) is type(self.prune_until)
        if same_kind and self.prune_from > self.prune_until:
            raise ValueError(
                "Pruning must not end before it begins. Received: "
                f"prune_from={self.prune_from}, prune_until={self.prune_until}"
            )
        freeze, begin = self.freeze_ranges_from, self.quantize_from
        same_kind = type(freeze) is type(begin)
        if self.quantizes and freeze is not None and same_kind and freeze < begin:
            raise ValueError(
                "Ranges cannot be frozen before there are any: `freeze_ranges_from` "
                "must not come before `quantize_from`. Received: "
                f"freeze_ranges_from={freeze}, quantize_from={begin}"
            )
        if self._trains("observer") and freeze is not None:
            raise ValueError(
                "Ranges that the optimizer trains cannot be frozen: it goes on moving "
                "them. Take another observer, or leave `freeze_ranges_from` out. "
                f"Received: freeze_ranges_from={freeze}, observer={self.observer!r}"
            )
        if self.update_every is not None:
            put("update_every", whole("update_every", self.update_every))
            if self.update_every < 1:
                raise ValueError(
                    "`update_every` must be a positive number of steps. "
                    f"Received: update_every={self.update_every}"
                )

    def excludes(self, path: str) -> bool:
        """Returns whether the layer at `path`, like "block/conv", is excluded."""
        return any(matches(entry, path) for entry in self.exclude)

    @property
    def prunes(self) -> bool:
        """Whether the recipe, or a rule of it, has a pattern."""
        return self.pattern is not None or any(rule.prunes() for rule in self.rules)

    @property
    def quantizes(self) -> bool:
        """Whether the recipe, or a rule of it, quantizes."""
        return self.quantize or any(rule.quantize is True for rule in self.rules)

    @property
    def trains_ranges(self) -> bool:
        """Whether the optimizer trains ranges of activations or of weights."""
        return self._trains("observer") or self._trains("format")

    def _trains(self, setting: str) -> bool:
        """Returns whether a method that learns is set, by a rule at least."""
        methods = [getattr(each, setting) for each in (self, *self.rules)]
        trained = any(getattr(method, "trained", False) for method in methods)
        return self.quantizes and trained

    def freezes_statistics(self) -> bool:
        """Returns whether normalizations stop following their batches."""
        return self.quantizes and self.freeze_statistics_from is not None

    def needs_total_steps(self) -> bool:
        """Returns whether any moment is a share of training."""
        moments: list[Moment | None] = []
        if self.quantizes:
            moments += [self.quantize_from, self.freeze_ranges_from]
        moments += [self.prune_from, self.prune_until] if self.prunes else []
        return any(isinstance(m, float) and m > 0 for m in moments)

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-ready description, with its `"version"`."""
        config = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, registry in METHODS.items():
            method = config[name]
            config[name] = None if method is None else registry.to_dict(method)
        config["exclude"] = list(self.exclude)
        config["rules"] = [rule.to_dict() for rule in self.rules]
        return {"version": VERSION, **config}

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> "Recipe":
        """Rebuilds a recipe.

        Args:
            config: what `to_dict` wrote, here or in an older version.

        Raises:
            ValueError: if `config` is not that, or of a newer version.
        """
        if not isinstance(config, dict):
            raise ValueError(f"A recipe must be a dict. Received: {config!r}")
        config = _upgraded(config)
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(config) - known)
        if unknown:
            raise ValueError(
                f"Unknown recipe keys {unknown}: no setting {_meant(unknown[0])}"
            )
        return cls(**config)


def _upgraded(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a recipe of any version as one of this version, without its number."""
    config = dict(config)
    version = config.pop("version", 0)
    if not isinstance(version, int) or not 0 <= version <= VERSION:
        raise ValueError(
            f"The recipe has version {version!r}; this qsparse reads versions up to "
            f"{VERSION}. Install the qsparse that wrote it, or a later one."
        )
    if version == 0 and "momentum" in config:
        momentum = config.pop("momentum")
        config["observer"] = {"name": "moving-average", "momentum": momentum}
    return config


def _meant(unknown: str) -> str:
    """Returns an unknown setting in quotes, what was meant by it, and all there are."""
    known = sorted(f.name for f in fields(Recipe))
    here = _ELSEWHERE.get(unknown)
    if here is None:
        close = get_close_matches(unknown, known, 1)
        here = f"`{close[0]}`" if close else None
    meant = f": that is {here} here" if here else ""
    return f"{unknown!r}{meant}. The settings are {', '.join(known)}."


def matches(entry: str, path: str) -> bool:
    """Returns whether an exclusion names a layer, or a layer that contains it."""
    names = path.split("/")
    places = ["/".join(names[: i + 1]) for i in range(len(names))]
    return any(fnmatch(place, entry) for place in places + names)
