"""What a pass is, and what it knows besides the graph."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

import numpy as np

from qsparse.tflite_export.files.grid import INT8_GRID, Grid
from qsparse.tflite_export.graph.composites import Composites
from qsparse.tflite_export.graph.graph import Graph
from qsparse.tflite_export.graph.ranges import Range, Trained
from qsparse.tflite_export.passes.record import Record

# Least ratio, in dB, of the power of an output to that of its change by a pass.
EXACT = 60.0  # sums in another order: a thousandth of the output
# Half of the floor of a whole file, see `min_sqnr` of `qsparse.export`: a few samples
# may be less lucky than all of them. A sign that is wrong leaves 0 dB or less.
ROUNDING = 5.0

Site = TypeVar("Site")


@dataclass
class Context:
    """What passes know of a graph, and leave to those behind them.

    Sets hold names of nodes, unless they say tensors.

    Attributes:
        trained: what training fixed; follows the graph.
        batches: representative samples, one list of inputs per batch; empty where
            decisions are repeated.
        record: takes down, or repeats, what is decided from samples.
        float_ends: whether inputs and outputs of the file are float.
        grid: the integers that activations become.
        find_ranges: gives every tensor of `ranges` its limits.
        uneven: tensors: inputs with a scale or a shift that differs by channel.
        joins: final concatenations that stay in float, and what moves them.
        affine: what scales and shifts an input, in float.
        composites: activations and normalizations of several nodes.
        apart: products of few neurons, or of patches, that stay in float.
        sums: sums that stay in float, and what is apart.
        divided: products that make channels behind a normalization even.
        multiplied: products that undo a factor per channel.
        unrounded: products -> the weights they had before they were rounded.
        ranges: tensors -> their ranges.
        inserted: tensors of `ranges` whose fake-quant node is in the graph.
        exempt: tensors -> nodes that read them unrounded.
    """

    trained: Trained = field(default_factory=Trained)
    batches: list[list[np.ndarray]] = field(default_factory=list)
    record: Record = field(default_factory=Record)
    float_ends: bool = False
    grid: Grid = INT8_GRID
    find_ranges: "Callable[[Graph, Context], None] | None" = None
    uneven: set[str] = field(default_factory=set)
    joins: set[str] = field(default_factory=set)
    affine: set[str] = field(default_factory=set)
    composites: Composites = field(default_factory=Composites)
    apart: set[str] = field(default_factory=set)
    sums: set[str] = field(default_factory=set)
    divided: set[str] = field(default_factory=set)
    multiplied: set[str] = field(default_factory=set)
    unrounded: dict[str, np.ndarray] = field(default_factory=dict)
    ranges: dict[str, Range] = field(default_factory=dict)
    inserted: set[str] = field(default_factory=set)
    exempt: dict[str, set[str]] = field(default_factory=dict)

    @property
    def fixed(self) -> set[str]:
        """Tensors with a trained range, which holds for them as they are."""
        return self.trained.fixed

    @property
    def normalizing(self) -> set[str]:
        """Every node of a normalization."""
        return self.composites.normalizing

    @property
    def ends(self) -> set[str]:
        """What stays in float at the ends of the network."""
        return self.affine | self.joins


class Pass(ABC):
    """One rewrite of a graph, or one decision about it.

    Attributes:
        name: what errors and the record call it.
        tolerance: least SQNR, in dB, of every output behind the pass against the
            same output before it.
        restores: whether the pass brings back what was taken out of the graph before
            all passes, the trained ranges: its outputs are held against those of the
            graph as the model was traced.
    """

    name: ClassVar[str]
    tolerance: ClassVar[float] = EXACT
    restores: ClassVar[bool] = False

    @abstractmethod
    def apply(self, graph: Graph, context: Context) -> None:
        """Changes the graph in place, and says in `context` what others must know."""


class DecidingPass(Pass, Generic[Site]):
    """A pass that looks at samples, and is repeated later without them.

    Attributes:
        least: least value that may be decided for a channel.
    """

    least: ClassVar[float] = -np.inf

    def apply(self, graph: Graph, context: Context) -> None:
        """Finds sites, decides or repeats what was decided, and rewrites them."""
        sites = self.find(graph, context)
        decided = context.record.take(
            self.name,
            [self.channels(graph, site) for site in sites],
            lambda: self.decide(graph, context, sites),
            self.least,
        )
        self.rewrite(graph, context, sites, decided)
        graph.refresh()

    @abstractmethod
    def find(self, graph: Graph, context: Context) -> list[Site]:
        """Returns the places that could be rewritten, in topological order."""

    @abstractmethod
    def channels(self, graph: Graph, site: Site) -> int:
        """Returns how many values are decided for a site."""

    @abstractmethod
    def decide(
        self, graph: Graph, context: Context, sites: list[Site]
    ) -> list[np.ndarray]:
        """Returns the values of each site, empty where it stays as it is."""

    @abstractmethod
    def rewrite(
        self,
        graph: Graph,
        context: Context,
        sites: list[Site],
        decided: list[np.ndarray],
    ) -> None:
        """Changes the sites that have values."""
