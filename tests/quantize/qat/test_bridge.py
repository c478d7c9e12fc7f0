"""The bridge from any Keras model to a flat tf_keras network: the same answers, or a message that names the layer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from quantize.errors import BridgeError
from quantize.qat import bridge
from quantize.quiet import import_tf_keras


def pictures(side: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, side, side, 3)).astype(np.float32)


def randomize(model: Any) -> Any:
    """Give batch norms statistics that matter; fresh ones are the identity."""
    rng = np.random.default_rng(1)
    for layer, _, _ in bridge.nodes(model):
        if hasattr(layer, "layers"):
            randomize(layer)
        elif type(layer).__name__ == "BatchNormalization":
            # By name: the large network's batch norms have no gamma, and a variance below zero is no number in the end.
            centred = [
                (getattr(weight, "path", None) or weight.name).split(":")[0].endswith(("beta", "moving_mean"))
                for weight in layer.weights
            ]
            layer.set_weights(
                [
                    rng.normal(size=weight.shape) * 0.1 if is_centred else rng.uniform(0.5, 1.5, weight.shape)
                    for weight, is_centred in zip(layer.weights, centred, strict=True)
                ]
            )
    return model


def scaled_block(scale: float, *, shared: bool = False) -> Any:
    """``x + scale * conv(x)`` as the large network has it; ``shared`` uses the convolution's output elsewhere too."""
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    image = keras.Input((8, 8, 3))
    up = keras.layers.Conv2D(3, 1, name="up", bias_initializer="random_normal")(image)
    first = keras.layers.Activation("tanh")(up) if shared else None
    added = CustomScaleLayer(scale, name="scale")([image, up])
    return keras.Model(image, keras.layers.Add()([added, first]) if shared else added)


def test_outputs_by_name_keep_their_order() -> None:
    image = keras.Input((8, 8, 3))
    seen = keras.layers.Flatten()(image)
    # Keras sorts the flat list of a dict's outputs by key: a, b.
    model = keras.Model(image, {"b": keras.layers.Dense(2, name="one")(seen), "a": keras.layers.Dense(3, name="other")(seen)})
    bridged = bridge.bridge(model)
    assert [int(tensor.shape[-1]) for tensor in bridged.network.outputs] == [2, 3]
    assert bridge.check(bridged, pictures(8)) <= bridge.TOLERANCE


@pytest.mark.slow
def test_the_nested_large_network_with_heads_of_its_own_is_flattened_and_equal() -> None:
    backbone = keras.applications.InceptionResNetV2(weights=None, include_top=False, input_shape=(75, 75, 3))
    image = keras.Input((75, 75, 3))
    pooled = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(backbone(image)))
    heads = [keras.layers.Dense(5, activation="softmax", name="kind")(pooled), keras.layers.Dense(2, name="steer")(pooled)]
    bridged = bridge.bridge(randomize(keras.Model(image, heads)))
    assert len(bridged.folded) == 40
    assert not any(hasattr(layer, "layers") for layer in bridged.network.layers)
    assert bridge.check(bridged, pictures(75)) <= bridge.TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Xception", "RegNetX002", "RegNetY002"])
def test_other_networks_pass_too(name: str) -> None:
    import tf_keras

    if name == "Xception":
        model = randomize(keras.applications.Xception(weights=None, input_shape=(71, 71, 3), classes=4))
    else:
        model = getattr(tf_keras.applications.regnet, name)(weights=None, input_shape=(64, 64, 3), classes=4)
    side = model.input_shape[1]
    assert bridge.check(bridge.bridge(model), pictures(side)) <= bridge.TOLERANCE


def test_the_trained_small_network_is_equal(small_network: Any) -> None:
    assert bridge.check(bridge.bridge(small_network), pictures(32, 8)) <= bridge.TOLERANCE


@pytest.mark.parametrize("scale", [0.17, 1.0, -0.3])
def test_folding_a_residual_scale_is_exact(scale: float) -> None:
    model = scaled_block(scale)
    bridged = bridge.bridge(model)
    assert bridged.folded == {"up"}
    names = [type(layer).__name__ for layer in bridged.network.layers]
    assert "Rescaling" not in names and names.count("Add") == 1
    kernel, bias = bridged.network.get_layer("up").get_weights()
    for ours, original in zip((kernel, bias), model.get_layer("up").get_weights(), strict=True):
        np.testing.assert_array_equal(ours, original * np.float32(scale))
    images = pictures(8)
    np.testing.assert_allclose(bridged.network(images), model(images), atol=1e-6)


def test_a_convolution_that_is_used_elsewhere_too_is_not_scaled() -> None:
    bridged = bridge.bridge(scaled_block(0.17, shared=True))
    assert not bridged.folded
    assert bridge.check(bridged, pictures(8)) <= bridge.TOLERANCE


def test_sequential_and_operators_between_tensors_pass() -> None:
    image = keras.Input((8, 8, 3))
    left, right = keras.layers.Conv2D(4, 3)(image), keras.layers.SeparableConv2D(4, 3, activation="relu")(image)
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.Model(image, left + right), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    assert bridge.check(bridge.bridge(model), pictures(8)) <= bridge.TOLERANCE


def test_a_difference_names_the_first_layer_that_differs(small_network: Any) -> None:
    bridged = bridge.bridge(small_network)
    layer = next(layer for layer in small_network.layers if type(layer).__name__ == "BatchNormalization")
    ours = bridged.network.get_layer(layer.name)
    gamma, *rest = ours.get_weights()
    ours.set_weights([gamma * 1.1, *rest])
    with pytest.raises(BridgeError, match=f"the first layer that differs is '{layer.name}' \\(BatchNormalization\\)"):
        bridge.check(bridged, pictures(32))


def test_unknown_layers_are_all_named_in_one_message() -> None:
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.LayerNormalization(name="norm"), keras.layers.UnitNormalization(name="unit")]
    )
    with pytest.raises(BridgeError, match=r"2 layers are not known to the bridge: norm \(LayerNormalization\), unit \(UnitNorm"):
        bridge.bridge(model)


def test_what_has_no_flat_form_is_refused() -> None:
    image, other = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    convolution = keras.layers.Conv2D(3, 1, name="twice")
    with pytest.raises(BridgeError, match="'twice' is used twice with the same weights"):
        bridge.bridge(keras.Model(image, convolution(convolution(image))))
    with pytest.raises(BridgeError, match="2 inputs, expected one image"):
        bridge.bridge(keras.Model([image, other], keras.layers.Add()([image, other])))
    with pytest.raises(BridgeError, match="without open sizes"):
        open_size = keras.Input((None, None, 3))
        bridge.bridge(keras.Model(open_size, keras.layers.Conv2D(1, 1)(open_size)))
    with pytest.raises(BridgeError, match="up to 4.0 has no fused form"):
        bridge.bridge(keras.Model(image, keras.layers.ReLU(4.0)(image)))
    with pytest.raises(BridgeError, match="division by the picture has no int8 form"):
        bridge.bridge(keras.Model(image, 1.0 / image))
    with pytest.raises(BridgeError, match="is no Keras model"):
        bridge.bridge(object())


@pytest.mark.parametrize(("layer", "message"), [
    (keras.layers.ReLU(negative_slope=0.1, name="slope"), "'slope': a ReLU with a slope or threshold has no fused form"),
    (keras.layers.MaxPooling2D(data_format="channels_first", name="first"), "'first': channels first"),
    (keras.layers.UpSampling2D(interpolation="bicubic", name="up"), "'up': bicubic upsampling; expected nearest or bilinear"),
    (keras.layers.Resizing(4, 4, interpolation="bicubic", name="size"), "'size': bicubic resizing; expected nearest or bilinear"),
    (keras.layers.Resizing(4, 5, crop_to_aspect_ratio=True, name="size"), "'size': Resizing with crop_to_aspect_ratio is not known"),
    (keras.layers.RandomCrop(4, 4, name="crop"), "'crop': RandomCrop changes the picture's size at inference too"),
    (keras.layers.CenterCrop(16, 16, name="crop"), "'crop': CenterCrop to more than the picture resizes it"),
    (keras.layers.Conv2D(2, 1, activation="selu", name="selu"), "'selu_selu': activation 'selu' is not known"),
])  # fmt: skip
def test_settings_that_tflite_has_no_op_for_are_refused(layer: Any, message: str) -> None:
    image = keras.Input((8, 8, 4))
    with pytest.raises(BridgeError, match=message):
        bridge.bridge(keras.Model(image, layer(image)))


def libraries() -> list[Any]:
    return [keras, import_tf_keras()]


@pytest.mark.parametrize("library", libraries(), ids=["keras", "tf_keras"])
def test_arithmetic_with_numbers_is_computed_as_the_model_does(library: Any) -> None:
    image = library.Input((8, 8, 3))
    moved = 1 - (image / 127.5 - 1.0) * np.array([0.5, 2.0, -1.0], np.float32)
    model = library.Model(image, library.layers.Conv2D(4, 3)(-moved + 0.25))
    bridged = bridge.bridge(model)
    assert bridge.check(bridged, pictures(8) * 100) <= 1e-6
    again = bridged.network.from_config(bridged.network.get_config())
    again.set_weights(bridged.network.get_weights())
    np.testing.assert_array_equal(again(pictures(8)), bridged.network(pictures(8)))


@pytest.mark.parametrize("library", libraries(), ids=["keras", "tf_keras"])
def test_layers_of_preprocessing_and_prelu_are_equal(library: Any) -> None:
    layers = library.layers
    normal = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.5, 2.0, 1.0])
    back = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.5, 2.0, 1.0], invert=True)
    scaled = layers.Rescaling([0.5, 2.0, 1.0], [0.0, 0.1, 0.2])
    prelu = layers.PReLU(shared_axes=[1, 2], alpha_initializer="random_normal")
    stack = [layers.Resizing(12, 10), layers.CenterCrop(9, 7), normal, scaled, layers.Conv2D(5, 3), prelu, layers.Flatten()]
    ends = [layers.Dense(4), layers.PReLU(alpha_initializer="random_normal")]
    model = library.Sequential([library.Input((8, 8, 3)), back, *stack, *ends])
    assert bridge.check(bridge.bridge(model), pictures(8)) <= 1e-5


@pytest.mark.parametrize("library", libraries(), ids=["keras", "tf_keras"])
def test_augmentation_acts_in_training_only(library: Any) -> None:
    image = library.Input((8, 8, 3))
    augment = library.Sequential([library.Input((8, 8, 3)), library.layers.RandomRotation(0.4), library.layers.RandomFlip()])
    model = library.Model(image, library.layers.Conv2D(3, 1)(augment(image)))
    bridged = bridge.bridge(model)
    assert bridge.check(bridged, pictures(8)) <= 1e-6
    still, moved = (np.asarray(bridged.network(pictures(8), training=training)) for training in (False, True))
    assert still.shape == moved.shape and not np.allclose(still, moved)


@pytest.mark.parametrize("end", ["softmax", "sigmoid", "relu6", "hard_silu", "hard_sigmoid", "silu", "tanh"])
def test_an_end_without_a_layer_is_equal(end: str) -> None:
    image = keras.Input((8, 8, 3))
    scores = keras.layers.Dense(4)(keras.layers.Flatten()(keras.ops.cast(image, "float32")))
    assert bridge.check(bridge.bridge(keras.Model(image, getattr(keras.ops, end)(scores))), pictures(8) * 3) <= 1e-5


def test_a_softmax_of_tensorflow_keeps_its_axis() -> None:
    import tensorflow as tf

    tf_keras = import_tf_keras()
    image = tf_keras.Input((8, 8, 3))
    model = tf_keras.Model(image, tf.nn.softmax(tf_keras.layers.Conv2D(4, 1)(tf.cast(image, "float32")), axis=1))
    assert bridge.check(bridge.bridge(model), pictures(8)) <= 1e-5


def test_hard_swish_in_steps_becomes_one_layer() -> None:
    tf_keras = import_tf_keras()
    image = tf_keras.Input((8, 8, 3))
    seen = tf_keras.layers.Conv2D(4, 1)(image)
    gate = tf_keras.layers.ReLU(6.0)(seen + 3.0) * (1.0 / 6.0)
    bridged = bridge.bridge(tf_keras.Model(image, tf_keras.layers.Multiply()([seen, gate])))
    assert [type(layer).__name__ for layer in bridged.network.layers][-1] == "Activation" and len(bridged.network.layers) == 4
    assert bridge.check(bridged, pictures(8) * 5) <= 1e-6


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_a_network_for_whole_numbers_is_compared_on_whole_numbers(dtype: str) -> None:
    image = keras.Input((8, 8, 3), dtype=dtype)
    scaled = keras.layers.Rescaling(1 / 127.5, -1.0)(keras.ops.cast(image, "float32"))
    model = keras.Model(image, keras.layers.Conv2D(4, 3)(scaled))
    tensors = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    assert bridge.check(bridge.bridge(model), tensors) <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("library", libraries(), ids=["keras", "tf_keras"])
@pytest.mark.parametrize("name", ["EfficientNetB0", "EfficientNetV2B0", "MobileNetV3Small"])
def test_networks_with_preprocessing_and_gates_inside_are_equal(name: str, library: Any) -> None:
    model = getattr(library.applications, name)(weights=None, input_shape=(32, 32, 3), classes=4)
    randomize(model)
    tensors = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    assert bridge.check(bridge.bridge(model), tensors) <= bridge.TOLERANCE


def test_an_output_that_is_the_input_is_refused() -> None:
    image = keras.Input((8, 8, 3))
    with pytest.raises(BridgeError, match="an output of the model is its input, or two outputs are the same tensor"):
        bridge.bridge(keras.Model(image, [image, keras.layers.Conv2D(2, 1)(image)]))


def test_headless_and_regression_forms_pass(small_network: Any) -> None:
    features = small_network.layers[-3].output
    for model in (
        keras.Model(small_network.input, features),
        keras.Model(small_network.input, keras.layers.Dense(2)(keras.layers.Flatten()(features))),
    ):
        assert bridge.check(bridge.bridge(model), pictures(32)) <= bridge.TOLERANCE


def test_a_network_with_a_broken_weight_is_refused_by_the_check(small_network: Any) -> None:
    bridged = bridge.bridge(small_network)
    kernel = bridged.network.layers[2].get_weights()
    bridged.network.layers[2].set_weights([np.full_like(w, np.nan) for w in kernel])
    with pytest.raises(BridgeError, match="the first layer that differs"):
        bridge.check(bridged, pictures(32))
