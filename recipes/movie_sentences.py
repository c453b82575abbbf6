"""Sentences from film reviews, and whether they praise or pan.

10,605 sentences of Rotten Tomatoes (Pang and Lee, 2005) that 20 people each rated
from -4 to 4 (Hutto and Gilbert, 2014; MIT licence). The label is the sign of the
mean; sentences whose mean lies within 0.5 of zero are left out.
"""

from dataclasses import dataclass

import numpy as np

from qsparse.recipes.weights.archives import VADER_SENTIMENT

_FILE = (
    "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
    "!hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
)
_UNDECIDED = 0.5


@dataclass(frozen=True)
class Sentences:
    """Sentences and their labels.

    Attributes:
        texts: the sentences.
        labels: int64 `(N,)`, 1 for praise, 0 for the opposite.
    """

    texts: tuple[str, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)


def load_split(train: int, test: int, seed: int = 0) -> tuple[Sentences, Sentences]:
    """Returns sentences to train on and others to test on.

    The test sentences of a seed do not depend on how many there are to train on.

    Args:
        train: how many to train on.
        test: how many to test on.
        seed: of the shuffling; the same seed gives the same split.

    Raises:
        ValueError: there are not that many.
        qsparse.recipes.weights.archives.ArchiveError: the sentences cannot be had.
    """
    (content,) = VADER_SENTIMENT.read(_FILE)
    return split(parse(content.decode()), train, test, seed)


def parse(text: str) -> Sentences:
    """Returns the decided sentences of a file, each text once.

    Args:
        text: lines of number, mean rating and sentence, separated by tabs.
    """
    ratings: dict[str, float] = {}
    for line in text.splitlines():
        _, rating, sentence = line.split("\t", maxsplit=2)
        ratings.setdefault(sentence.strip(), float(rating))
    decided = {k: v for k, v in ratings.items() if abs(v) > _UNDECIDED}
    labels = np.array([rating > 0 for rating in decided.values()], np.int64)
    return Sentences(tuple(decided), labels)


def split(
    sentences: Sentences, train: int, test: int, seed: int
) -> tuple[Sentences, Sentences]:
    """Shuffles sentences and returns the last `train` and the first `test` of them.

    Raises:
        ValueError: there are fewer than `train + test`, or one is below 1.
    """
    if min(train, test) < 1 or train + test > len(sentences):
        raise ValueError(
            f"`train` and `test` must be positive and at most {len(sentences)} "
            f"together, got train={train}, test={test}."
        )
    order = np.random.default_rng(seed).permutation(len(sentences))
    chosen = order[-train:], order[:test]
    first, second = (
        Sentences(tuple(sentences.texts[i] for i in part), sentences.labels[part])
        for part in chosen
    )
    return first, second
