"""What runs now, read off the stack: a fit, a step, a trace."""

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import keras


def _frames() -> Iterator[FrameType]:
    """Returns the functions that are running, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def running_callbacks() -> keras.callbacks.CallbackList | None:
    """Returns the list whose callbacks are being called, to be called from one of them.

    Keras does not tell a callback what stands beside it. None if something else than
    `keras.callbacks.CallbackList` calls it.
    """
    for frame in _frames():
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.callbacks.CallbackList):
            return owner
    return None


def fit_validates() -> bool | None:
    """Returns whether the `fit` that runs has validation data; None if none runs.

    To be called from one of its callbacks.
    """
    values = _locals_of_fit()
    return None if values is None else values["validation_data"] is not None


def fit_validation_data() -> Any:
    """Returns what the `fit` that runs validates with, as a user gave it, or split off.

    None if it does not, if it uses it up, as a generator, or if none runs. To be called
    from one of its callbacks.
    """
    data = (_locals_of_fit() or {}).get("validation_data")
    if isinstance(data, Iterator):
        return None
    return tuple(data) if isinstance(data, list) else data  # As `fit` takes a list.


def _locals_of_fit() -> dict[str, Any] | None:
    for frame in _frames():
        values = frame.f_locals
        if frame.f_code.co_name == "fit" and "validation_data" in values:
            return values
    return None


# The functions in which Keras' trainers run a step, and those that trace a function.
_STEPS = {
    ("keras.src.backend.tensorflow.trainer", "one_step_on_data"),
    ("keras.src.backend.jax.trainer", "iterator_step"),
}


_TRACERS = (
    "tensorflow.python.eager.polymorphic_function.tracing_compilation",
    "jax._src.pjit",
)


def model_of_step() -> keras.Model | None:
    """Returns the model whose train, test or predict function is running or traced.

    None in any other function, also in one of the user's that such a function calls:
    whoever traced it keeps what it was traced to, and `renew_compiled_functions` does
    not reach it. None as well where a strategy runs its replicas in threads.
    """
    frames = _frames()
    traced = False
    for frame in frames:
        module = frame.f_globals.get("__name__", "")
        if (module, frame.f_code.co_name) in _STEPS:
            break
        if traced and not module.startswith("jax."):
            return None
        if module in _TRACERS:
            # What JAX traces are the methods that a trainer's step calls.
            if not module.startswith("jax."):
                return None
            traced = True
    else:
        return None
    owners = (f.f_locals.get("self") for f in [frame, *frames])
    return next((owner for owner in owners if isinstance(owner, keras.Model)), None)


def handed_back() -> bool:
    """Returns whether a trainer assigns what it was given; see `sync_variables`.

    To be asked while a variable is assigned to.
    """
    return any(frame.f_code.co_name == "jax_state_sync" for frame in _frames())
