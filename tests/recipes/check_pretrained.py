"""Real weights compute what others compute with them; run by `make test-pretrained`.

The expected numbers were computed by PyTorch 2.13 with the networks' original PyTorch
code, by the tokenizers library, and by fastembed, and are not ours.
"""

import keras
import numpy as np
import pytest

from benchmarks.accuracy import photo_predictions, sentence_embeddings
from qsparse.recipes import efficientnet_lite, minilm, mobilenet_v2, movie_sentences
from qsparse.recipes.photos import PHOTOS, load_crops, load_photos

# Of classes 281, 282, 285, 967, 657, 665, 985 and 698, per photo.
LOGITS = [
    [8.1657, 8.8339, 8.9876, -0.0811, -0.1674, 0.4206, -0.4756, -0.6099],
    [-0.2534, 0.2135, -1.1746, 10.9823, -0.2237, 0.7387, 0.8252, 0.4002],
    [-0.0665, 0.6606, 0.4789, -0.9025, 6.9332, -1.0831, -0.8936, -0.3504],
    [1.7327, 0.7577, 0.6993, -0.8925, -0.3638, 9.0821, -0.5921, -0.3947],
    [-0.1494, -0.1659, -0.6216, -0.5465, -1.7382, -1.3044, 7.0605, -0.6984],
    [1.2287, 0.4341, -0.6654, -2.3300, -0.4584, -0.0914, 0.3182, 8.0805],
]
# The first six features per photo, and the length of all 1,280.
FEATURES = [
    [0.017896, 0.350551, 0.078465, 0.200547, 0.825815, 1.634438],
    [0.126341, 0.002746, 0.980091, 0.035162, 0.019023, 0.013549],
    [0.53608, 0.332712, 0.292676, 0.035206, 0.126038, 0.398037],
    [0.943884, 0.328871, 0.100357, 0.907312, 0.195141, 0.247533],
    [0.021753, 0.001446, 1.160841, 0.0, 0.031879, 0.0],
    [0.434965, 0.321991, 0.326894, 0.074063, 1.532308, 0.549819],
]
LENGTHS = [31.458597, 27.55888, 22.070627, 25.487226, 25.59602, 27.26014]


@pytest.fixture(scope="module")
def photos():
    return load_photos()


@pytest.fixture(scope="module")
def efficientnet():
    return efficientnet_lite.efficientnet_lite0()


@pytest.fixture(scope="module")
def encoder():
    return minilm.encoder(16)


def test_efficientnet_computes_what_pytorch_does(efficientnet, photos):
    logits = efficientnet.predict(efficientnet_lite.normalize(photos), verbose=0)
    shown = logits[:, [281, 282, 285, 967, 657, 665, 985, 698]]
    np.testing.assert_allclose(shown, LOGITS, atol=2e-4)


def test_efficientnet_knows_what_the_photos_show(efficientnet):
    classes = photo_predictions(efficientnet).tolist()
    assert classes == [285, 967, 657, 665, 985, 698]
    assert all(c in photo.classes for c, photo in zip(classes, PHOTOS, strict=True))


def test_mobilenet_computes_what_pytorch_does(photos):
    model = mobilenet_v2.mobilenet_v2()
    features = model.predict(mobilenet_v2.normalize(photos), verbose=0)
    np.testing.assert_allclose(features[:, :6], FEATURES, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), LENGTHS, rtol=1e-5)


def test_crops_are_seeded_and_differ():
    crops = load_crops(8, seed=1)
    assert crops.shape == (8, 224, 224, 3) and crops.dtype == np.uint8
    np.testing.assert_array_equal(crops, load_crops(8, seed=1))
    assert not np.array_equal(crops, load_crops(8, seed=2))
    assert len({crop.tobytes() for crop in crops}) == 8


def test_minilm_gives_the_published_embedding(encoder):
    (vector,) = sentence_embeddings(encoder, ["hello world"], 16)
    published = [-0.034478, 0.03102, 0.00673, 0.02611, -0.039362]
    np.testing.assert_allclose(vector[:5], published, atol=6e-6)
    np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-6)


def test_minilm_is_the_same_after_saving(encoder, tmp_path):
    tokens = minilm.tokenize(["A film to remember.", "Forget it!"], 16)
    encoder.save(tmp_path / "minilm.keras")
    loaded = keras.models.load_model(tmp_path / "minilm.keras")
    # The other GELU would be 3e-3 off.
    expected = encoder.predict(tokens, verbose=0)
    np.testing.assert_allclose(loaded.predict(tokens, verbose=0), expected, atol=5e-5)


@pytest.mark.parametrize(
    ("sentence", "ids"),
    [
        (
            "Unpretentious, charming, quirky, original",
            [4895, 28139, 6528, 20771, 1010, 11951, 1010, 21864, 15952, 1010, 2434],
        ),
        (
            "Crème brûlée: it's 2.5/10 & over-long!",
            [13675, 21382, 7987, 9307, 2063, 1024, 2009, 1005, 1055, 1016, 1012]
            + [1019, 1013, 2184, 1004, 2058, 1011, 2146, 999],
        ),
    ],
)
def test_tokens_are_those_of_the_original_tokenizer(sentence, ids):
    tokens = minilm.tokenize([sentence], 32)
    used = len(ids) + 2
    assert tokens["token_ids"][0, :used].tolist() == [101, *ids, 102]
    assert not tokens["token_ids"][0, used:].any()
    assert tokens["padding_mask"][0].tolist() == [1] * used + [0] * (32 - used)
    assert not tokens["segment_ids"].any()


def test_long_sentences_are_cut_and_end_as_they_should():
    tokens = minilm.tokenize(["film " * 100], 8)["token_ids"][0]
    assert tokens[0] == 101 and tokens[-1] == 102 and (tokens > 0).all()


def test_a_length_out_of_range_is_named():
    with pytest.raises(ValueError, match="from 3 to 512 tokens, got 513"):
        minilm.tokenize(["film"], 513)


def test_movie_sentences_are_all_there():
    train, test = movie_sentences.load_split(9041, 1000)
    labels = np.concatenate([train.labels, test.labels])
    assert len(labels) == len({*train.texts, *test.texts}) == 10_041
    assert labels.sum() == 4_981
    assert 0.45 < test.labels.mean() < 0.55
