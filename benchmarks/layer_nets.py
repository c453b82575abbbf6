"""How to build a small net around each layer of `keras.layers`."""

import inspect
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from benchmarks import sites
from benchmarks.material import images, words
from benchmarks.sites import Call, Place, alone
from benchmarks.trial import Case


class Net(NamedTuple):
    """Where a layer stands, how it is made and how it is called there."""

    place: Place
    make: Callable[[], layers.Layer]
    call: Call = alone


def public_layers() -> dict[str, type[layers.Layer]]:
    """Returns every layer of `keras.layers` by its public name, sorted.

    Of several names the one of the class counts, else the first. Base classes are
    left out: those that inherit the `call` of `keras.layers.Layer`, which only raises.
    """
    names: dict[type[layers.Layer], list[str]] = {}
    for name, cls in sorted(vars(layers).items()):
        if (
            inspect.isclass(cls)
            and issubclass(cls, layers.Layer)
            and getattr(cls, "call", None) is not layers.Layer.call
        ):
            names.setdefault(cls, []).append(name)
    chosen = {
        cls.__name__ if cls.__name__ in found else found[0]: cls
        for cls, found in names.items()
    }
    return dict(sorted(chosen.items()))


def case_of(name: str) -> Case:
    """Returns the net of a layer.

    Raises:
        KeyError: a layer that `NETS` does not know.
    """
    net = NETS[name]
    return net.place(net.make(), net.call)


def _augmentation(*args: Any, **kwargs: Any) -> Callable[[str], Net]:
    def net(name: str) -> Net:
        return Net(sites.photo, lambda: getattr(layers, name)(*args, **kwargs))

    return net


def _adapted(layer: layers.Layer, data: Any) -> layers.Layer:
    layer.adapt(data)
    return layer


def _saved_model() -> layers.Layer:
    inner = keras.Sequential([keras.Input((16,)), layers.Dense(8)])
    folder = tempfile.mkdtemp()
    inner.export(folder, verbose=False)
    return layers.TFSMLayer(folder, trainable=False)


def _jax_dense() -> layers.Layer:
    return layers.JaxLayer(
        call_fn=lambda params, inputs: inputs @ params,
        init_fn=lambda rng, inputs: np.ones((inputs.shape[-1], 8), np.float32),
    )


def _torch_dense() -> layers.Layer:
    import torch

    return layers.TorchModuleWrapper(torch.nn.Linear(16, 8))


def _flax_dense() -> layers.Layer:
    import flax.linen

    return layers.FlaxLayer(flax.linen.Dense(8))


# Image augmentation of `keras.layers`: nothing when a model predicts.
_AUGMENTATIONS: dict[str, Callable[[str], Net]] = {
    "AugMix": _augmentation(),
    "CutMix": _augmentation(),
    "MixUp": _augmentation(),
    "RandAugment": _augmentation(),
    "RandomBrightness": _augmentation(0.2),
    "RandomColorDegeneration": _augmentation(0.2),
    "RandomColorJitter": _augmentation(brightness_factor=0.2),
    "RandomContrast": _augmentation(0.2),
    "RandomCrop": _augmentation(28, 28),
    "RandomElasticTransform": _augmentation(),
    "RandomErasing": _augmentation(),
    "RandomFlip": _augmentation("horizontal"),
    "RandomGaussianBlur": _augmentation(),
    "RandomGrayscale": _augmentation(),
    "RandomHue": _augmentation(0.2),
    "RandomInvert": _augmentation(),
    "RandomPerspective": _augmentation(),
    "RandomPosterization": _augmentation(4),
    "RandomRotation": _augmentation(0.1),
    "RandomSaturation": _augmentation(0.2),
    "RandomSharpness": _augmentation(0.2),
    "RandomShear": _augmentation(0.1),
    "RandomTranslation": _augmentation(0.1, 0.1),
    "RandomZoom": _augmentation(0.1),
    # These change images when a model predicts, too.
    "AutoContrast": _augmentation(),
    "CenterCrop": _augmentation(28, 28),
    "ContrastLimitedAdaptiveHistogramEqualization": _augmentation(),
    "Equalization": _augmentation(),
    "Rescaling": _augmentation(1 / 127.5, -1.0),
    "Resizing": _augmentation(24, 24),
    "Solarization": _augmentation(threshold_factor=0.5),
}

_LAYERS: dict[str, Net] = {
    "Activation": Net(sites.planes, lambda: layers.Activation("gelu")),
    "ActivityRegularization": Net(
        sites.vector, lambda: layers.ActivityRegularization(1e-3)
    ),
    "AdaptiveAveragePooling1D": Net(
        sites.steps, lambda: layers.AdaptiveAveragePooling1D(4)
    ),
    "AdaptiveAveragePooling2D": Net(
        sites.planes, lambda: layers.AdaptiveAveragePooling2D(4)
    ),
    "AdaptiveAveragePooling3D": Net(
        sites.volume, lambda: layers.AdaptiveAveragePooling3D(2)
    ),
    "AdaptiveMaxPooling1D": Net(sites.steps, lambda: layers.AdaptiveMaxPooling1D(4)),
    "AdaptiveMaxPooling2D": Net(sites.planes, lambda: layers.AdaptiveMaxPooling2D(4)),
    "AdaptiveMaxPooling3D": Net(sites.volume, lambda: layers.AdaptiveMaxPooling3D(2)),
    "Add": Net(sites.planes, layers.Add, sites.on_two),
    "AdditiveAttention": Net(sites.steps, layers.AdditiveAttention, sites.as_sequence),
    "AlphaDropout": Net(sites.vector, lambda: layers.AlphaDropout(0.2)),
    "Attention": Net(sites.steps, layers.Attention, sites.as_sequence),
    "Average": Net(sites.planes, layers.Average, sites.on_two),
    "AveragePooling1D": Net(sites.steps, lambda: layers.AveragePooling1D(2)),
    "AveragePooling2D": Net(sites.planes, lambda: layers.AveragePooling2D(2)),
    "AveragePooling3D": Net(sites.volume, lambda: layers.AveragePooling3D(2)),
    "BatchNormalization": Net(sites.planes, layers.BatchNormalization),
    "Bidirectional": Net(sites.steps, lambda: layers.Bidirectional(layers.LSTM(8))),
    "CategoryEncoding": Net(sites.ids, lambda: layers.CategoryEncoding(256)),
    "Concatenate": Net(sites.planes, layers.Concatenate, sites.on_two),
    "Conv1D": Net(sites.steps, lambda: layers.Conv1D(8, 3)),
    "Conv1DTranspose": Net(sites.steps, lambda: layers.Conv1DTranspose(8, 3)),
    "Conv2D": Net(sites.planes, lambda: layers.Conv2D(8, 3)),
    "Conv2DTranspose": Net(sites.planes, lambda: layers.Conv2DTranspose(8, 3)),
    "Conv3D": Net(sites.volume, lambda: layers.Conv3D(8, 3)),
    "Conv3DTranspose": Net(sites.volume, lambda: layers.Conv3DTranspose(8, 3)),
    "ConvLSTM1D": Net(sites.planes, lambda: layers.ConvLSTM1D(8, 3)),
    "ConvLSTM2D": Net(sites.volume, lambda: layers.ConvLSTM2D(8, 3)),
    "ConvLSTM3D": Net(sites.film, lambda: layers.ConvLSTM3D(8, 2)),
    "Cropping1D": Net(sites.steps, layers.Cropping1D),
    "Cropping2D": Net(sites.planes, lambda: layers.Cropping2D(1)),
    "Cropping3D": Net(sites.volume, lambda: layers.Cropping3D(1)),
    "Dense": Net(sites.vector, lambda: layers.Dense(16)),
    "DepthwiseConv1D": Net(sites.steps, lambda: layers.DepthwiseConv1D(3)),
    "DepthwiseConv2D": Net(sites.planes, lambda: layers.DepthwiseConv2D(3)),
    "Discretization": Net(
        sites.vector,
        lambda: layers.Discretization([0.1, 0.2, 0.4], output_mode="one_hot"),
    ),
    "Dot": Net(sites.steps, lambda: layers.Dot(axes=2), sites.on_two),
    "Dropout": Net(sites.vector, lambda: layers.Dropout(0.2)),
    "ELU": Net(sites.planes, layers.ELU),
    "EinsumDense": Net(
        sites.steps, lambda: layers.EinsumDense("abc,cd->abd", (28, 8), bias_axes="d")
    ),
    "Embedding": Net(sites.ids, lambda: layers.Embedding(256, 8)),
    "Flatten": Net(sites.planes, layers.Flatten),
    "FlaxLayer": Net(sites.vector, _flax_dense),
    "GRU": Net(sites.steps, lambda: layers.GRU(8)),
    "GRUCell": Net(sites.steps, lambda: layers.RNN(layers.GRUCell(8))),
    "GaussianDropout": Net(sites.vector, lambda: layers.GaussianDropout(0.2)),
    "GaussianNoise": Net(sites.vector, lambda: layers.GaussianNoise(0.2)),
    "GlobalAveragePooling1D": Net(sites.steps, layers.GlobalAveragePooling1D),
    "GlobalAveragePooling2D": Net(sites.planes, layers.GlobalAveragePooling2D),
    "GlobalAveragePooling3D": Net(sites.volume, layers.GlobalAveragePooling3D),
    "GlobalMaxPooling1D": Net(sites.steps, layers.GlobalMaxPooling1D),
    "GlobalMaxPooling2D": Net(sites.planes, layers.GlobalMaxPooling2D),
    "GlobalMaxPooling3D": Net(sites.volume, layers.GlobalMaxPooling3D),
    "GroupNormalization": Net(sites.planes, lambda: layers.GroupNormalization(4)),
    "GroupQueryAttention": Net(
        sites.steps, lambda: layers.GroupQueryAttention(8, 4, 2), sites.on_itself
    ),
    "HashedCrossing": Net(
        sites.ids,
        lambda: layers.HashedCrossing(32, output_mode="one_hot"),
        sites.crossed,
    ),
    "Hashing": Net(sites.ids, lambda: layers.Hashing(300), sites.embedded),
    "Identity": Net(sites.planes, layers.Identity),
    "InputLayer": Net(sites.given, lambda: layers.InputLayer((28, 28, 1))),
    "IntegerLookup": Net(
        sites.ids,
        lambda: layers.IntegerLookup(vocabulary=list(range(32, 127))),
        sites.embedded,
    ),
    "JaxLayer": Net(sites.vector, _jax_dense),
    "LSTM": Net(sites.steps, lambda: layers.LSTM(8)),
    "LSTMCell": Net(sites.steps, lambda: layers.RNN(layers.LSTMCell(8))),
    "Lambda": Net(sites.planes, lambda: layers.Lambda(lambda x: x * 2.0)),
    "LayerNormalization": Net(sites.steps, layers.LayerNormalization),
    "LeakyReLU": Net(sites.planes, layers.LeakyReLU),
    "Masking": Net(sites.steps, layers.Masking),
    # Boxes are data of a pipeline; in a model it passes images through.
    "MaxNumBoundingBoxes": Net(sites.photo, lambda: layers.MaxNumBoundingBoxes(4)),
    "MaxPooling1D": Net(sites.steps, lambda: layers.MaxPooling1D(2)),
    "MaxPooling2D": Net(sites.planes, lambda: layers.MaxPooling2D(2)),
    "MaxPooling3D": Net(sites.volume, lambda: layers.MaxPooling3D(2)),
    "Maximum": Net(sites.planes, layers.Maximum, sites.on_two),
    "MelSpectrogram": Net(
        sites.sound,
        lambda: layers.MelSpectrogram(
            fft_length=128, sequence_stride=64, num_mel_bins=16
        ),
    ),
    "Minimum": Net(sites.planes, layers.Minimum, sites.on_two),
    "MultiHeadAttention": Net(
        sites.steps, lambda: layers.MultiHeadAttention(2, 4), sites.on_itself
    ),
    "Multiply": Net(sites.planes, layers.Multiply, sites.on_two),
    "Normalization": Net(
        sites.sound,
        lambda: _adapted(
            layers.Normalization(), images()[0].reshape(len(images()[0]), -1)
        ),
    ),
    "PReLU": Net(sites.planes, lambda: layers.PReLU(shared_axes=[1, 2])),
    "Permute": Net(sites.steps, lambda: layers.Permute((2, 1))),
    "Pipeline": Net(
        sites.photo,
        lambda: layers.Pipeline([layers.RandomFlip(), layers.Rescaling(0.5)]),
    ),
    "RMSNormalization": Net(sites.steps, layers.RMSNormalization),
    "RNN": Net(sites.steps, lambda: layers.RNN(layers.SimpleRNNCell(8))),
    "ReLU": Net(sites.planes, layers.ReLU),
    "RepeatVector": Net(sites.vector, lambda: layers.RepeatVector(3)),
    "Reshape": Net(sites.planes, lambda: layers.Reshape((16, 32))),
    "ReversibleEmbedding": Net(sites.ids, lambda: layers.ReversibleEmbedding(256, 8)),
    "STFTSpectrogram": Net(
        sites.sound,
        lambda: layers.STFTSpectrogram(frame_length=128, fft_length=128),
        lambda layer, x: layer(layers.Reshape((784, 1))(x)),
    ),
    "SeparableConv1D": Net(sites.steps, lambda: layers.SeparableConv1D(8, 3)),
    "SeparableConv2D": Net(sites.planes, lambda: layers.SeparableConv2D(8, 3)),
    "SimpleRNN": Net(sites.steps, lambda: layers.SimpleRNN(8)),
    "SimpleRNNCell": Net(sites.steps, lambda: layers.RNN(layers.SimpleRNNCell(8))),
    "Softmax": Net(sites.vector, layers.Softmax),
    "SpatialDropout1D": Net(sites.steps, lambda: layers.SpatialDropout1D(0.2)),
    "SpatialDropout2D": Net(sites.planes, lambda: layers.SpatialDropout2D(0.2)),
    "SpatialDropout3D": Net(sites.volume, lambda: layers.SpatialDropout3D(0.2)),
    "SpectralNormalization": Net(
        sites.planes, lambda: layers.SpectralNormalization(layers.Conv2D(8, 3))
    ),
    "StackedRNNCells": Net(
        sites.steps,
        lambda: layers.RNN(
            layers.StackedRNNCells([layers.LSTMCell(8), layers.LSTMCell(8)])
        ),
    ),
    "StringLookup": Net(
        sites.strings,
        lambda: layers.StringLookup(vocabulary=sorted(set(words()[0].ravel()))),
        sites.embedded,
    ),
    "Subtract": Net(sites.planes, layers.Subtract, sites.on_two),
    "TFSMLayer": Net(sites.vector, _saved_model),
    "TextVectorization": Net(
        sites.strings,
        lambda: _adapted(
            layers.TextVectorization(max_tokens=300, output_sequence_length=4),
            words()[0],
        ),
        sites.embedded,
    ),
    "TimeDistributed": Net(
        sites.steps, lambda: layers.TimeDistributed(layers.Dense(8))
    ),
    "TorchModuleWrapper": Net(sites.vector, _torch_dense),
    "UnitNormalization": Net(sites.steps, layers.UnitNormalization),
    "UpSampling1D": Net(sites.steps, layers.UpSampling1D),
    "UpSampling2D": Net(sites.planes, layers.UpSampling2D),
    "UpSampling3D": Net(sites.volume, layers.UpSampling3D),
    "ZeroPadding1D": Net(sites.steps, layers.ZeroPadding1D),
    "ZeroPadding2D": Net(sites.planes, layers.ZeroPadding2D),
    "ZeroPadding3D": Net(sites.volume, layers.ZeroPadding3D),
}

NETS: dict[str, Net] = _LAYERS | {
    name: make(name) for name, make in _AUGMENTATIONS.items()
}
