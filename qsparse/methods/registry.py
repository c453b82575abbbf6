"""Names for the small dataclasses a recipe is made of.

One registry per idea (patterns, criteria, schedules and so on) turns a user's
identifier into an instance, and an instance into JSON and back. Registries are open:

```python
@qsparse.register("schedule", "square")
@dataclass(frozen=True)
class Square(qsparse.Cubic):
    power: float = 2.0
```
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

_Class = TypeVar("_Class", bound=type)


class Registry:
    """Maps names to frozen dataclasses.

    Entries also go by text that one of them understands, as "4x4" or "int4". It says so
    with a class method `from_text(text)`: that gets the text stripped and in lower
    case, and returns an instance, or None where the text is nothing of its own.

    Args:
        kind: what the entries are called in a recipe and in error messages.
        methods: what each of them must be able to do, by name.
    """

    def __init__(self, kind: str, methods: tuple[str, ...]) -> None:
        self.kind = kind
        self.methods = methods
        self.classes: dict[str, type] = {}

    def register(self, name: str) -> Callable[[_Class], _Class]:
        """Returns a decorator that enters a class under a name.

        A class of the same module and name takes the place of its earlier self, as
        when a notebook's cell runs again.

        Args:
            name: what a recipe calls it, in Python and in files.

        Raises:
            ValueError: from the decorator, if the class is no frozen dataclass or
                lacks a method, or if another class has the name.
        """

        def enter(cls: _Class) -> _Class:
            self._check(name, cls)
            self.classes[name] = cls
            return cls

        return enter

    def _check(self, name: str, cls: Any) -> None:
        own = "__dataclass_fields__" in vars(cls)
        if not own or not cls.__dataclass_params__.frozen:
            raise ValueError(
                f"A {self.kind} is a frozen dataclass, so that recipes can be compared "
                f"and saved. Write @dataclass(frozen=True) above {cls.__name__}, below "
                "the line that registers it."
            )
        lacking = [method for method in self.methods if not hasattr(cls, method)]
        if lacking:
            raise ValueError(
                f"{cls.__name__} cannot be a {self.kind}: it has no "
                f"{', '.join(f'`{method}`' for method in lacking)}."
            )
        there = self.classes.get(name)
        if there is not None and _place(there) != _place(cls):
            raise ValueError(
                f"The {self.kind} {name!r} is {there.__module__}.{there.__qualname__}. "
                f"Register {cls.__name__} under another name."
            )

    def get(self, identifier: Any) -> Any:
        """Returns an instance from an instance, a name, text, or a dict of `to_dict`.

        Raises:
            ValueError: if the identifier is none of these.
        """
        if type(identifier) in self.classes.values():
            return identifier
        if isinstance(identifier, str):
            text = identifier.strip().lower()
            for cls in self.classes.values():
                found = cls.from_text(text) if hasattr(cls, "from_text") else None
                if found is not None:
                    return found
            if text in self.classes and identifier not in self.classes:
                identifier = text
        is_dict = isinstance(identifier, Mapping)
        config = dict(identifier) if is_dict else {"name": identifier}
        name = config.pop("name", None)
        if not isinstance(name, str) or name not in self.classes:
            raise ValueError(self._complaint(identifier))
        lists_to_tuples = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in config.items()
        }
        try:
            return self.classes[name](**lists_to_tuples)
        except TypeError as error:
            raise ValueError(f"Bad {self.kind} {name!r}: {error}") from error

    def _complaint(self, identifier: Any) -> str:
        if any(identifier is cls for cls in self.classes.values()):
            return (
                f"A {self.kind} is an instance, not a class. Received: the class "
                f"{identifier.__name__}. Write {identifier.__name__}(...)."
            )
        if is_dataclass(identifier) and not isinstance(identifier, type):
            cls = type(identifier)
            if any(issubclass(cls, known) for known in self.classes.values()):
                return (
                    f"{cls.__name__} is no registered {self.kind}. Write "
                    f'@qsparse.register("{self.kind}", "a name") above the class.'
                )
        return (
            f"Unknown {self.kind}: expected {self._allowed()}. "
            f"Received: {identifier!r}. What is registered outside of qsparse has to "
            "be imported before it is used, or read from a file."
        )

    def _allowed(self) -> str:
        classes = ", ".join(cls.__name__ for cls in self.classes.values())
        return f"one of {sorted(self.classes)} or an instance of {classes}"

    def to_dict(self, instance: Any) -> dict[str, Any]:
        """Returns a JSON-ready description that `get` understands."""
        names = (n for n, cls in self.classes.items() if type(instance) is cls)
        values = {f.name: getattr(instance, f.name) for f in fields(instance)}
        return {"name": next(names), **values}


def _place(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__
