"""A small vision transformer (Dosovitskiy et al., 2021)."""

import keras

try:
    import keras_hub
except ImportError as error:
    raise ImportError(
        "The ViT needs keras-hub: pip install 'keras-qsparse[hub]'"
    ) from error


def vit(
    input_shape: tuple[int, int, int] = (28, 28, 1),
    classes: int = 10,
    patch: int = 4,
    width: int = 192,
    blocks: int = 4,
    heads: int = 3,
) -> keras.Model:
    """Returns an untrained ViT that outputs logits; 1.8 million weights by default.

    Args:
        input_shape: `(height, width, channels)` of the images.
        classes: number of logits.
        patch: side of a patch, in pixels; it divides height and width.
        width: features of a token; the feed-forward layers have four times those.
        blocks: number of encoder blocks.
        heads: attention heads of a block; they divide `width`.
    """
    backbone = keras_hub.models.ViTBackbone(
        image_shape=input_shape,
        patch_size=patch,
        num_layers=blocks,
        num_heads=heads,
        hidden_dim=width,
        mlp_dim=4 * width,
    )
    inputs = keras.Input(input_shape, name="images")
    first = backbone(inputs)[:, 0]
    logits = keras.layers.Dense(classes, name="logits")(first)
    return keras.Model(inputs, logits, name="vit")
