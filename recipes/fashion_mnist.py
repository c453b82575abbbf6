"""Fashion-MNIST: 10,000 images that travel with the package.

The first 800 training and 200 test images of each of the 10 classes of
Zalando's Fashion-MNIST (MIT licence, see `data/FASHION_MNIST_LICENSE.txt`), in
their original order and split. Enough to train a small network in minutes, on a
machine without a network.
"""

from importlib.resources import files

import numpy as np

Arrays = tuple[np.ndarray, np.ndarray]


def load() -> tuple[Arrays, Arrays]:
    """Returns `(x_train, y_train), (x_test, y_test)`.

    Images are uint8 `(8000, 28, 28)` and `(2000, 28, 28)`, labels int64 in
    [0, 9].
    """
    with (
        files("qsparse.recipes")
        .joinpath("data/fashion_mnist_10k.npz")
        .open("rb") as file
    ):
        data = np.load(file, allow_pickle=False)
        arrays = {name: data[name] for name in data.files}
    train = arrays["x_train"], arrays["y_train"].astype(np.int64)
    test = arrays["x_test"], arrays["y_test"].astype(np.int64)
    return train, test


def load_normalized() -> tuple[Arrays, Arrays]:
    """Returns the same with images as float32 `(N, 28, 28, 1)` in [0, 1]."""
    (x_train, y_train), (x_test, y_test) = load()

    def normalized(images: np.ndarray) -> np.ndarray:
        return images[..., np.newaxis].astype(np.float32) / 255.0

    return (normalized(x_train), y_train), (normalized(x_test), y_test)
