"""A small OPT (Zhang et al., 2022) that reads and writes characters."""

import keras
import numpy as np

try:
    import keras_hub
except ImportError as error:
    raise ImportError(
        "The OPT needs keras-hub: pip install 'keras-qsparse[hub]'"
    ) from error

# Tokens are the characters of ASCII.
VOCABULARY = 128


def opt(
    length: int = 128, width: int = 96, blocks: int = 2, heads: int = 4
) -> keras.Model:
    """Returns an untrained OPT; 250,000 weights by default.

    It takes token ids, int32 `(N, length)`, and returns the logits of each next token,
    `(N, length, VOCABULARY)`, by the same table that tokens are embedded with.

    Args:
        length: tokens of a text.
        width: features of a token; the feed-forward layers have four times those.
        blocks: number of decoder blocks.
        heads: attention heads of a block; they divide `width`.
    """
    backbone = keras_hub.models.OPTBackbone(
        vocabulary_size=VOCABULARY,
        num_layers=blocks,
        num_heads=heads,
        hidden_dim=width,
        intermediate_dim=4 * width,
        max_sequence_length=length,
        dropout=0.0,
    )
    inputs = keras.Input((length,), dtype="int32", name="token_ids")
    mask = keras.ops.ones_like(inputs)
    hidden = backbone({"token_ids": inputs, "padding_mask": mask})
    logits = backbone.token_embedding(hidden, reverse=True)
    return keras.Model(inputs, logits, name="opt")


def windows(text: str, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a text as tokens and the tokens that follow them.

    Args:
        text: in lower case it is cut into pieces, one after the other; characters
            outside of ASCII become "?", and what is left at the end is dropped.
        length: tokens of a piece.

    Returns:
        Two int32 arrays `(pieces, length)`.
    """
    codes = text.lower().encode("ascii", "replace")
    tokens = np.frombuffer(codes, np.uint8).astype(np.int32)
    count = (len(tokens) - 1) // length
    first, following = tokens[: count * length], tokens[1 : count * length + 1]
    return first.reshape(count, length), following.reshape(count, length)
