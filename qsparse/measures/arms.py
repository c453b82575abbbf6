"""Arms: one model as it is, pruned, quantized, and both in each order."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import keras
import numpy as np

from qsparse.engine.kernel import KernelCompression, compressed_layers
from qsparse.engine.phases import Phases
from qsparse.engine.selection import Moment, Selector
from qsparse.engine.state import ModelState, Switches, state_of
from qsparse.planning.recipe import ORDERS

DENSE, PRUNED, QUANTIZED = "dense", "pruned", "quantized"
PRUNED_FIRST, QUANTIZED_FIRST = ORDERS

# When pruning is over, whatever the schedule.
_END = Moment(step=1, begin=0, end=1)

# Of one layer, by arm: bool `(taps, inputs, outputs)`; None if it is not pruned.
Masks = Mapping[str, np.ndarray | None]


class Arms:
    """Takes a model that carries a recipe from one arm to another.

    Args:
        model: a compressed model, whose masks are those of the arms.

    Attributes:
        layers: all whose kernels the recipe changes.
        order: the recipe's.
    """

    def __init__(self, model: keras.Model) -> None:
        state = state_of(model)
        if state is None:
            raise ValueError(f"Model '{model.name}' carries no recipe: attach one.")
        self._model = model
        self._state: ModelState = state
        self.layers = compressed_layers(model)
        self.order, self._switches = state.recipe.order, state.switches
        found = [layer.canonical_mask() for layer in self.layers]
        self._masks = {PRUNED: found, self.order: found}
        # Whether scales that training learns begin in each arm, as of a plain model.
        self._begins = False

    @property
    def names(self) -> tuple[str, ...]:
        """The arms there are, from the mildest on."""
        return (DENSE, PRUNED, QUANTIZED, *(o for o in ORDERS if o in self._masks))

    def select(self) -> None:
        """Selects masks of both orders, for a model that has none yet.

        They are those that the recipe would end with, of the weights as they are.
        """
        _select(self._model, self._state)
        Phases(self._model).complete()
        pruned = [layer.canonical_mask() for layer in self.layers]
        self._masks = {PRUNED: pruned, PRUNED_FIRST: pruned}
        self._lay_on(self.masks(DENSE))
        self._state.reorder(QUANTIZED_FIRST)
        self._state.turn(Switches(True))
        self._begins = True
        self._begin()
        _select(self._model, self._state)
        late = [layer.canonical_mask() for layer in self.layers]
        self._masks[QUANTIZED_FIRST] = late

    def take(self, arm: str) -> None:
        """Brings the model to one of `names`."""
        self._lay_on(self.masks(arm))
        self._state.reorder(arm if arm in ORDERS else PRUNED_FIRST)
        self._state.turn(Switches(arm not in (DENSE, PRUNED)))
        self._begin()

    def _begin(self) -> None:
        for layer in self.layers if self._begins else ():
            layer.begin_rounding()

    @contextmanager
    def left(self) -> Iterator[None]:
        """Brings the model back to where it was before the first arm, at the end."""
        try:
            yield
        finally:
            self._lay_on(self._masks[self.order])
            self._state.reorder(self.order)
            self._state.turn(self._switches)

    def masks(self, arm: str) -> list[np.ndarray | None]:
        """Returns the mask of each layer in an arm; None where all is kept."""
        return self._masks.get(arm, [None] * len(self.layers))

    def masks_by_layer(self) -> Iterator[tuple[KernelCompression, Masks]]:
        """Yields each layer with its masks, by each arm that prunes."""
        for index, layer in enumerate(self.layers):
            yield layer, {arm: found[index] for arm, found in self._masks.items()}

    def _lay_on(self, masks: Sequence[np.ndarray | None]) -> None:
        """Gives each layer its mask; None is one that keeps all."""
        for layer, mask in zip(self.layers, masks, strict=True):
            if layer.mask_variable is not None:
                full = np.ones(layer.layout.canonical_shape, bool)
                kept = layer.layout.kernel(full if mask is None else mask)
                layer.mask_variable.assign(kept)


def _select(model: keras.Model, state: ModelState) -> None:
    """Gives each layer the mask that a recipe ends with; optimizers notice nothing."""
    pruned = [layer for layer in compressed_layers(model) if layer.plan.prunes]
    for layer in pruned:
        layer.ranking.found = None  # What ranks once does so in each order.
    selector = Selector(model, state)
    selector.check(pruned)
    shares = selector.shares(pruned, _END)
    for layer, share in zip(pruned, shares, strict=True):
        layer.select_mask(share)
