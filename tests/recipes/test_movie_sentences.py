import numpy as np
import pytest

from qsparse.recipes.movie_sentences import Sentences, parse, split

# Invented lines in the form of the file.
LINES = (
    "1\t2.26\tIt is  destined to be\ta success.\r\n"
    "2\t-1.9\tNot much of a story.\r\n"
    "3\t0.5\tIt exists.\r\n"
    "4\t-0.5\tIt is long.\r\n"
    "5\t-0.51\tNot much of a story.\r\n"
    "6\t0.51\tWorth seeing.\r\n"
)


def numbered(count):
    labels = np.arange(count) % 2
    return Sentences(tuple(f"sentence {i}" for i in range(count)), labels)


def test_undecided_and_repeated_sentences_are_left_out():
    sentences = parse(LINES)
    assert sentences.texts == (
        "It is  destined to be\ta success.",
        "Not much of a story.",
        "Worth seeing.",
    )
    assert sentences.labels.tolist() == [1, 0, 1]


def test_a_split_is_disjoint_and_keeps_labels_with_texts():
    train, test = split(numbered(100), 70, 30, seed=1)
    assert (len(train), len(test)) == (70, 30)
    assert not set(train.texts) & set(test.texts)
    for part in (train, test):
        assert [int(text.split()[1]) % 2 for text in part.texts] == part.labels.tolist()


def test_a_seed_gives_one_split():
    first, again = (split(numbered(100), 50, 20, seed=3) for _ in range(2))
    assert first[0].texts == again[0].texts and first[1].texts == again[1].texts
    assert split(numbered(100), 50, 20, seed=4)[1].texts != first[1].texts


def test_test_sentences_do_not_depend_on_the_training_size():
    sizes = [split(numbered(100), size, 20, seed=0)[1].texts for size in (10, 80)]
    assert sizes[0] == sizes[1]


# Written down once, so that no later version quietly tests on other sentences.
def test_the_split_stays_what_it_was():
    _, test = split(numbered(1000), 10, 5, seed=0)
    assert [int(text.split()[1]) for text in test.texts] == [459, 206, 222, 162, 711]


@pytest.mark.parametrize(("train", "test"), [(0, 1), (1, 0), (6, 5)])
def test_impossible_sizes_are_named(train, test):
    with pytest.raises(ValueError, match=f"at most 10 together, got train={train}"):
        split(numbered(10), train, test, seed=0)
