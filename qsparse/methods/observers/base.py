"""What an observer is."""

from typing import Any, Protocol

from qsparse.methods.registry import Registry


class Observer(Protocol):
    """What an input quantizer asks of an observer."""

    def moved(self, before: Any, seen: Any) -> Any:
        """Returns the sizes of the ranges after a step.

        Args:
            before: float32 `(inputs, 2)`: the sizes that the step began with.
            seen: what the step has seen, of the same shape.
        """


OBSERVERS = Registry("observer", ("moved",))
