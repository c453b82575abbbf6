"""Best files: whether what `ModelCheckpoint` kept is a model that was carried out."""

from collections.abc import Sequence

import keras


class BestFiles:
    """Follows the callbacks that write a file where a metric is the best so far.

    The best epoch is often a dense one. The file says so to `qsparse.load_model`, but
    not to `keras.models.load_model`.

    Args:
        callbacks: those of a training.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        self._writers = [
            c
            for c in callbacks
            if isinstance(c, keras.callbacks.ModelCheckpoint) and c.save_best_only
        ]
        self._bests = [c.best for c in self._writers]
        self._lacks: list[str | None] = [None for _ in self._writers]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._writers)

    def look(self, shortfall: str | None) -> None:
        """Notes which were written at the end of the epoch before.

        Args:
            shortfall: what the model lacked then; None: nothing.
        """
        for index, writer in enumerate(self._writers):
            if writer.best != self._bests[index]:
                self._bests[index], self._lacks[index] = writer.best, shortfall

    def problem(self) -> str | None:
        """Returns what to say of files that hold a model of before; None of none."""
        found = [
            f"ModelCheckpoint(save_best_only=True) last wrote '{writer.filepath}' "
            "before the recipe was carried out. Export what fit leaves, or fit on with "
            f"a ModelCheckpoint of its own. When the file was written: {lack}"
            for writer, lack in zip(self._writers, self._lacks, strict=True)
            if lack is not None
        ]
        return " ".join(found) or None
