"""Trains with `BackupAndRestore`; run by `test_resume` and killed by it.

Usage: resume_worker.py BACKUP_FOLDER RESULT_FILE STEP_TO_DIE_AT
"""

import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from qsparse.callbacks import PruneThenQuantize
from qsparse.recipes import fashion_mnist
from tests.conftest import small_cnn


class Die(keras.callbacks.Callback):
    """Kills this process, without warning, in the middle of an epoch."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def main(backup, result, step):
    keras.utils.set_random_seed(11)
    (x, y), _ = fashion_mnist.load_normalized()
    model = small_cnn()
    model.compile(model.optimizer, model.loss)  # by XLA, as users have it
    # BackupAndRestore stands first: it must find the state it restores anyway.
    callbacks = [
        keras.callbacks.BackupAndRestore(backup, delete_checkpoint=False),
        PruneThenQuantize(update_every=4),
        Die(int(step)),
    ]
    model.fit(
        x[:800],
        y[:800],
        epochs=4,
        batch_size=40,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    )
    variables = [*model.weights, *model.optimizer.variables]
    # Paths repeat: every layer's mask has the same one.
    np.savez(result, **{f"{i} {v.path}": v.numpy() for i, v in enumerate(variables)})


if __name__ == "__main__":
    main(*sys.argv[1:])
