"""The smallest sizes that the families of the zoo allow."""

from collections.abc import Callable
from typing import Any

import keras
from keras_hub import models

Shape = tuple[int, int, int]

_SIDE: Shape = (32, 32, 3)

# Input shape, and what to leave out of the deepest.
APPLICATIONS: dict[str, tuple[Shape, dict[str, Any]]] = {
    "ConvNeXtTiny": (_SIDE, {}),
    "DenseNet121": (_SIDE, {}),
    "EfficientNetB0": (_SIDE, {}),
    "EfficientNetV2B0": (_SIDE, {}),
    "InceptionResNetV2": ((75, 75, 3), {}),
    "InceptionV3": ((75, 75, 3), {}),
    "MobileNet": (_SIDE, {"alpha": 0.25}),
    "MobileNetV2": (_SIDE, {"alpha": 0.35}),
    "MobileNetV3Small": (_SIDE, {}),
    "NASNetMobile": (_SIDE, {}),
    "ResNet50": (_SIDE, {}),
    "ResNet50V2": (_SIDE, {}),
    "VGG16": (_SIDE, {}),
    "VGG19": (_SIDE, {}),
    "Xception": ((71, 71, 3), {}),
}


def _text(name: str, **settings: Any) -> Callable[[], keras.Model]:
    """Returns an encoder or decoder of two layers, four heads and 32 features."""
    common = {
        "vocabulary_size": 256,
        "num_layers": 2,
        "hidden_dim": 32,
        "intermediate_dim": 64,
    }
    return lambda: getattr(models, name)(**(common | settings))


_HEADS = {"num_heads": 4}
_POSITIONS = _HEADS | {"max_sequence_length": 16}
_GROUPED = {"num_query_heads": 4, "num_key_value_heads": 2}
_GEMMA = _GROUPED | {"head_dim": 8}
_EXPERTS = {"num_experts": 4, "top_k": 2}
_T5GEMMA: dict[str, Any] = {
    f"{side}_{key}": value
    for side in ("encoder", "decoder")
    for key, value in {
        "hidden_dim": 32,
        "intermediate_dim": 64,
        "num_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    }.items()
}


def _t5gemma(name: str) -> Callable[[], keras.Model]:
    settings = {"vocabulary_size": 256, "sliding_window": 8, **_T5GEMMA}
    return lambda: getattr(models, name)(**settings)


def _resnet(shape: Shape = _SIDE) -> keras.Model:
    return models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 64],
        stackwise_num_blocks=[2, 2, 2],
        stackwise_num_strides=[1, 2, 2],
        block_type="basic_block",
        image_shape=shape,
    )


def _mit() -> keras.Model:
    return models.MiTBackbone(
        layerwise_depths=[2, 2],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        image_shape=_SIDE,
        hidden_dims=[16, 32],
    )


def _mit_of_four() -> keras.Model:
    return models.MiTBackbone(
        layerwise_depths=[1, 1, 1, 1],
        num_layers=4,
        layerwise_num_heads=[1, 2, 2, 4],
        layerwise_sr_ratios=[4, 2, 1, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        image_shape=(64, 64, 3),
        hidden_dims=[8, 16, 24, 32],
    )


def _vit() -> keras.Model:
    return models.ViTBackbone(
        image_shape=_SIDE,
        patch_size=8,
        num_layers=2,
        num_heads=4,
        hidden_dim=32,
        mlp_dim=64,
    )


def _vit_det() -> keras.Model:
    return models.ViTDetBackbone(
        hidden_size=32,
        num_layers=2,
        intermediate_dim=64,
        num_heads=4,
        global_attention_layer_indices=[1],
        image_shape=(64, 64, 3),
        patch_size=8,
        num_output_channels=16,
        window_size=4,
    )


def _dino_v2() -> keras.Model:
    return models.DINOV2Backbone(
        patch_size=8,
        num_layers=2,
        hidden_dim=32,
        num_heads=4,
        intermediate_dim=64,
        image_shape=_SIDE,
        position_embedding_shape=_SIDE,
    )


def _dino_v3() -> keras.Model:
    return models.DINOV3Backbone(
        patch_size=8,
        num_layers=2,
        hidden_dim=32,
        num_heads=4,
        intermediate_dim=64,
        image_shape=_SIDE,
    )


def _efficient_net() -> keras.Model:
    return models.EfficientNetBackbone(
        stackwise_kernel_sizes=[3, 3, 3],
        stackwise_num_repeats=[1, 2, 2],
        stackwise_input_filters=[16, 16, 24],
        stackwise_output_filters=[16, 24, 40],
        stackwise_expansion_ratios=[1, 4, 4],
        stackwise_squeeze_and_excite_ratios=[0, 0, 0.25],
        stackwise_strides=[1, 2, 2],
        stackwise_block_types=["fused", "unfused", "unfused"],
        stackwise_force_input_filters=[0, 0, 0],
        stackwise_nores_option=[False] * 3,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        num_features=64,
        input_shape=_SIDE,
    )


def _mobile_net() -> keras.Model:
    return models.MobileNetBackbone(
        stackwise_expansion=[[40, 56], [64, 144, 144], [72, 72]],
        stackwise_num_blocks=[2, 3, 2],
        stackwise_num_filters=[[16, 16], [24, 24, 24], [24, 24]],
        stackwise_kernel_size=[[3, 3], [5, 5, 5], [5, 5]],
        stackwise_num_strides=[[2, 1], [2, 1, 1], [1, 1]],
        stackwise_se_ratio=[[None, None], [0.25, 0.25, 0.25], [0.3, 0.3]],
        stackwise_activation=[
            ["relu", "relu"],
            ["hard_swish", "hard_swish", "hard_swish"],
            ["hard_swish", "hard_swish"],
        ],
        stackwise_padding=[[1, 1], [2, 2, 2], [2, 2]],
        output_num_filters=None,
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        last_layer_filter=64,
        squeeze_and_excite=0.5,
        input_num_filters=16,
        image_shape=(64, 64, 3),
    )


def _csp_net() -> keras.Model:
    return models.CSPNetBackbone(
        stem_filters=16,
        stem_kernel_size=3,
        stem_strides=1,
        stackwise_depth=[1, 2, 2],
        stackwise_strides=[1, 2, 2],
        stackwise_num_filters=[16, 32, 64],
        block_type="dark_block",
        stage_type="dark",
        image_shape=_SIDE,
    )


def _dense_net() -> keras.Model:
    return models.DenseNetBackbone(
        stackwise_num_repeats=[2, 2, 2], growth_rate=16, image_shape=_SIDE
    )


def _vgg() -> keras.Model:
    return models.VGGBackbone(
        stackwise_num_repeats=[1, 1, 2],
        stackwise_num_filters=[16, 32, 64],
        image_shape=_SIDE,
    )


def _xception() -> keras.Model:
    return models.XceptionBackbone(
        stackwise_conv_filters=[[32, 64], [64, 64]],
        stackwise_pooling=[True, False],
        image_shape=(64, 64, 3),
    )


def _swin() -> keras.Model:
    return models.SwinTransformerBackbone(
        image_shape=_SIDE,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
        patch_size=4,
    )


def _deit() -> keras.Model:
    return models.DeiTBackbone(
        image_shape=_SIDE,
        patch_size=8,
        num_layers=2,
        num_heads=4,
        hidden_dim=32,
        intermediate_dim=64,
    )


def _hg_net() -> keras.Model:
    return models.HGNetV2Backbone(
        depths=[1, 1],
        embedding_size=16,
        hidden_sizes=[32, 64],
        stem_channels=[3, 8, 16],
        hidden_act="relu",
        use_learnable_affine_block=False,
        stackwise_stage_filters=[[16, 16, 32, 1, 1, 3], [32, 16, 64, 1, 1, 3]],
        apply_downsample=[False, True],
        use_lightweight_conv_block=[False, False],
        image_shape=_SIDE,
    )


def _retina_net() -> keras.Model:
    return models.RetinaNetBackbone(
        image_encoder=_resnet((128, 128, 3)),
        min_level=3,
        max_level=4,
        use_p5=False,
        image_shape=(128, 128, 3),
    )


def _deep_lab() -> keras.Model:
    return models.DeepLabV3Backbone(
        image_encoder=_resnet((64, 64, 3)),
        spatial_pyramid_pooling_key="P4",
        upsampling_size=4,
        dilation_rates=[2, 4],
        low_level_feature_key="P2",
        projection_filters=16,
        image_shape=(64, 64, 3),
    )


def _seg_former() -> keras.Model:
    return models.SegFormerBackbone(image_encoder=_mit_of_four(), projection_filters=16)


def _depth_anything() -> keras.Model:
    encoder = models.DINOV2Backbone(
        patch_size=8,
        num_layers=4,
        hidden_dim=32,
        num_heads=4,
        intermediate_dim=64,
        image_shape=(64, 64, 3),
        position_embedding_shape=(64, 64, 3),
        apply_layernorm=True,
    )
    return models.DepthAnythingBackbone(
        image_encoder=encoder,
        reassemble_factors=[4, 2, 1, 0.5],
        neck_hidden_dims=[16, 16, 16, 16],
        fusion_hidden_dim=16,
        head_hidden_dim=16,
        head_in_index=-1,
        feature_keys=["stage1", "stage2", "stage3", "stage4"],
    )


def _whisper() -> keras.Model:
    return models.WhisperBackbone(
        vocabulary_size=256,
        num_layers=2,
        num_heads=4,
        hidden_dim=32,
        intermediate_dim=64,
        num_mels=16,
        max_encoder_sequence_length=32,
        max_decoder_sequence_length=16,
    )


def _moonshine() -> keras.Model:
    return models.MoonshineBackbone(
        vocabulary_size=256,
        filter_dim=32,
        encoder_num_layers=2,
        decoder_num_layers=2,
        hidden_dim=32,
        intermediate_dim=64,
        encoder_num_heads=4,
        decoder_num_heads=4,
    )


def _smol_lm() -> keras.Model:
    return models.SmolLM3Backbone(
        vocabulary_size=256,
        hidden_dim=32,
        intermediate_dim=64,
        num_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attention_bias=False,
        attention_dropout=0.0,
        rope_layer_enabled_list=[True, True],
        layer_types=["full_attention", "full_attention"],
        mlp_bias=False,
        layer_norm_epsilon=1e-5,
        max_position_embeddings=16,
        rope_theta=10000.0,
        partial_rotary_factor=1.0,
    )


BACKBONES: dict[str, Callable[[], keras.Model]] = {
    "AlbertBackbone": _text("AlbertBackbone", **_POSITIONS, embedding_dim=16),
    "BartBackbone": _text("BartBackbone", **_POSITIONS),
    "BertBackbone": _text("BertBackbone", **_POSITIONS),
    "BloomBackbone": _text("BloomBackbone", **_HEADS),
    "CSPNetBackbone": _csp_net,
    "DINOV2Backbone": _dino_v2,
    "DINOV3Backbone": _dino_v3,
    "DebertaV3Backbone": _text("DebertaV3Backbone", **_POSITIONS, bucket_size=8),
    "DeepLabV3Backbone": _deep_lab,
    "DeiTBackbone": _deit,
    "DenseNetBackbone": _dense_net,
    "DepthAnythingBackbone": _depth_anything,
    "DistilBertBackbone": _text("DistilBertBackbone", **_POSITIONS),
    "ESMBackbone": _text("ESMBackbone", **_POSITIONS),
    "EfficientNetBackbone": _efficient_net,
    "ElectraBackbone": lambda: models.ElectraBackbone(
        vocab_size=256,
        num_layers=2,
        num_heads=4,
        hidden_dim=32,
        embedding_dim=16,
        intermediate_dim=64,
        max_sequence_length=16,
    ),
    "FNetBackbone": _text("FNetBackbone", max_sequence_length=16),
    "FalconBackbone": _text("FalconBackbone", num_attention_heads=4),
    "GPT2Backbone": _text("GPT2Backbone", **_POSITIONS),
    "GPTNeoXBackbone": _text("GPTNeoXBackbone", **_POSITIONS),
    "Gemma3Backbone": _text("Gemma3Backbone", **_GEMMA, image_size=16),
    "GemmaBackbone": _text("GemmaBackbone", **_GEMMA),
    "GptOssBackbone": _text("GptOssBackbone", **_GROUPED, **_EXPERTS),
    "HGNetV2Backbone": _hg_net,
    "LlamaBackbone": _text("LlamaBackbone", **_GROUPED),
    "Llama3Backbone": _text("Llama3Backbone", **_GROUPED),
    "MiTBackbone": _mit,
    "MistralBackbone": _text("MistralBackbone", **_GROUPED),
    "MixtralBackbone": _text("MixtralBackbone", **_GROUPED, **_EXPERTS),
    "MobileNetBackbone": _mobile_net,
    "MoonshineBackbone": _moonshine,
    "OPTBackbone": _text("OPTBackbone", **_POSITIONS),
    "Phi3Backbone": _text("Phi3Backbone", **_GROUPED),
    "Qwen3Backbone": _text("Qwen3Backbone", **_GEMMA),
    "Qwen3MoeBackbone": _text(
        "Qwen3MoeBackbone", **_GEMMA, **_EXPERTS, moe_intermediate_dim=32
    ),
    "QwenBackbone": _text("QwenBackbone", **_GROUPED),
    "QwenMoeBackbone": _text(
        "QwenMoeBackbone",
        **_GROUPED,
        **_EXPERTS,
        moe_intermediate_dim=32,
        shared_expert_intermediate_dim=32,
    ),
    "RWKV7Backbone": lambda: models.RWKV7Backbone(
        hidden_size=32,
        head_size=8,
        num_layers=2,
        vocabulary_size=256,
        intermediate_dim=64,
        gate_lora=16,
        mv_lora=8,
        aaa_lora=8,
        decay_lora=8,
    ),
    "ResNetBackbone": _resnet,
    "RetinaNetBackbone": _retina_net,
    "RobertaBackbone": _text("RobertaBackbone", **_POSITIONS),
    "RoformerV2Backbone": _text("RoformerV2Backbone", **_HEADS, head_size=8),
    "SegFormerBackbone": _seg_former,
    "SmolLM3Backbone": _smol_lm,
    "SwinTransformerBackbone": _swin,
    "T5Backbone": _text("T5Backbone", **_HEADS),
    "T5GemmaBackbone": _t5gemma("T5GemmaBackbone"),
    "VGGBackbone": _vgg,
    "ViTBackbone": _vit,
    "ViTDetBackbone": _vit_det,
    "WhisperBackbone": _whisper,
    "XLMRobertaBackbone": _text("XLMRobertaBackbone", **_POSITIONS),
    "XLNetBackbone": _text("XLNetBackbone", **_HEADS),
    "XceptionBackbone": _xception,
}

_OF_TOWERS = "joins encoders of other families that stand in this table"
_IMAGE_TEXT = "its inputs are images among tokens, made by a preprocessor"

# Why a family has no model here.
LEFT_OUT: dict[str, str] = {
    "BASNetBackbone": _OF_TOWERS,
    "BLIP2Backbone": _OF_TOWERS,
    "CLIPBackbone": _OF_TOWERS,
    "DFineBackbone": "a detector that draws random queries in its graph",
    "EdRecBackbone": "a recommender; its inputs are histories of purchases",
    "FluxBackbone": "a diffusion model",
    "Gemma3nBackbone": _IMAGE_TEXT,
    "Gemma4Backbone": _IMAGE_TEXT,
    "MetaCLIP2Backbone": _OF_TOWERS,
    "MobileNetV5Backbone": "the image tower of Gemma3n",
    "PARSeqBackbone": _OF_TOWERS,
    "PaliGemmaBackbone": _IMAGE_TEXT,
    "Qwen3_5Backbone": _IMAGE_TEXT,
    "Qwen3_5MoeBackbone": _IMAGE_TEXT,
    "SAM3PromptableConceptBackbone": "its inputs are prompts on images",
    "SAMBackbone": "its inputs are prompts on images",
    "SigLIPBackbone": _OF_TOWERS,
    "StableDiffusion3Backbone": "a diffusion model",
    "T5Gemma2Backbone": _IMAGE_TEXT,
    "VideoPrismBackbone": "its inputs are videos",
}
