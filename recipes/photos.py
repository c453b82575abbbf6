"""Photos of things that ImageNet has a class for, at 224x224.

They are sample pictures of scikit-image (CC0 or public domain) and of scikit-learn
(CC BY 2.0, by danielbuechele and vultilion on Flickr), read from the wheels.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from qsparse.recipes.weights.archives import SCIKIT_IMAGE, SCIKIT_LEARN, Archive

SIZE = 224


@dataclass(frozen=True)
class Photo:
    """One photo.

    Attributes:
        name: of what it shows.
        archive: where it lies.
        member: its path in there.
        classes: the ImageNet classes, from 0 to 999, that are right.
    """

    name: str
    archive: Archive
    member: str
    classes: tuple[int, ...]


PHOTOS = (
    # Tabby, tiger cat, Egyptian cat: ImageNet's names for what people call a cat.
    Photo("cat", SCIKIT_IMAGE, "skimage/data/chelsea.png", (281, 282, 285)),
    Photo("espresso", SCIKIT_IMAGE, "skimage/data/coffee.png", (967,)),
    Photo("missile", SCIKIT_IMAGE, "skimage/data/rocket.jpg", (657, 744)),
    Photo("moped", SCIKIT_IMAGE, "skimage/data/motorcycle_left.png", (665,)),
    Photo("daisy", SCIKIT_LEARN, "sklearn/datasets/images/flower.jpg", (985,)),
    Photo("palace", SCIKIT_LEARN, "sklearn/datasets/images/china.jpg", (698,)),
)


def load_photos() -> np.ndarray:
    """Returns the central squares of `PHOTOS`, uint8 RGB `(6, 224, 224, 3)`.

    Raises:
        qsparse.recipes.weights.archives.ArchiveError: a photo cannot be had.
        ImportError: Pillow is missing.
    """
    return np.stack([_cut(picture, 1.0, 0.5, 0.5) for picture in _pictures()])


def load_crops(count: int, seed: int = 0) -> np.ndarray:
    """Returns squares cut from the photos, to calibrate ranges with.

    Each is 40% to 100% of the shorter side wide, anywhere, and mirrored half the
    time; the same seed gives the same squares.

    Args:
        count: how many; the photos take turns.
        seed: of the random numbers.

    Returns:
        uint8 RGB `(count, 224, 224, 3)`.
    """
    rng = np.random.default_rng(seed)
    pictures = _pictures()
    crops = []
    for index in range(count):
        picture = pictures[index % len(pictures)]
        crop = _cut(picture, rng.uniform(0.4, 1), *rng.uniform(size=2))
        crops.append(crop[:, ::-1] if rng.uniform() < 0.5 else crop)
    return np.stack(crops)


def _pictures() -> list[Any]:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "Decoding photos needs Pillow: pip install 'keras-qsparse[recipes]'"
        ) from error
    pictures = []
    for photo in PHOTOS:
        (content,) = photo.archive.read(photo.member)
        pictures.append(Image.open(BytesIO(content)).convert("RGB"))
    return pictures


def _cut(picture: Any, share: float, x: float, y: float) -> np.ndarray:
    """Returns a square of a picture, at 224x224.

    Args:
        picture: a `PIL.Image`.
        share: of its shorter side, in (0, 1], that the square is wide.
        x: where it lies: 0 is left, 1 is right.
        y: where it lies: 0 is up, 1 is down.
    """
    side = share * min(picture.size)
    left, top = x * (picture.width - side), y * (picture.height - side)
    box = (left, top, left + side, top + side)
    # Bicubic (3), as the weights were trained with.
    return np.asarray(picture.resize((SIZE, SIZE), resample=3, box=box))
