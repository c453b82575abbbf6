"""Names for the small dataclasses a recipe is made of.

One registry per idea (patterns, schedules, estimators) turns a user's
identifier into an instance, and an instance into JSON and back.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any


class Registry:
    """Maps names to frozen dataclasses.

    Args:
        kind: what the entries are called in error messages.
        classes: `{name: dataclass}`.
    """

    def __init__(self, kind: str, classes: Mapping[str, type]) -> None:
        self.kind = kind
        self.classes = dict(classes)

    def get(self, identifier: Any) -> Any:
        """Return an instance from an instance, a name, or a dict of `to_dict`.

        Raises:
            ValueError: if the identifier is none of these.
        """
        if type(identifier) in self.classes.values():
            return identifier
        is_dict = isinstance(identifier, Mapping)
        config = dict(identifier) if is_dict else {"name": identifier}
        name = config.pop("name", None)
        if not isinstance(name, str) or name not in self.classes:
            if any(identifier is cls for cls in self.classes.values()):
                raise ValueError(
                    f"A {self.kind} is an instance, not a class. Received: the class "
                    f"{identifier.__name__}. Write {identifier.__name__}(...)."
                )
            raise ValueError(
                f"Unknown {self.kind}: expected {self._allowed()}. "
                f"Received: {identifier!r}"
            )
        lists_to_tuples = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in config.items()
        }
        try:
            return self.classes[name](**lists_to_tuples)
        except TypeError as error:
            raise ValueError(f"Bad {self.kind} {name!r}: {error}") from error

    def _allowed(self) -> str:
        classes = ", ".join(cls.__name__ for cls in self.classes.values())
        return f"one of {sorted(self.classes)} or an instance of {classes}"

    def to_dict(self, instance: Any) -> dict[str, Any]:
        """Return a JSON-ready description that `get` understands."""
        names = (n for n, cls in self.classes.items() if type(instance) is cls)
        return {"name": next(names), **asdict(instance)}
