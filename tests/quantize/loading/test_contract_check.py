"""How pictures are fed: what the user says, what the model does itself, and the two together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantize
from edge.artefact.contract import InputSpec
from edge.runtime.preprocess import preprocess
from quantize import LoadError
from quantize.loading.input_chain import follow
from quantize.quiet import import_keras, import_tf_keras, quiet


def network(*beginning: Any, keras: Any = None, nested: bool = False, channels: int = 3) -> Any:
    """A small network that begins with ``beginning``."""
    keras = keras or import_keras()
    with quiet():
        image = x = keras.Input((16, 16, channels))
        for step in beginning:
            x = step(x)
        inside = keras.Input((16, 16, channels))
        body = keras.layers.BatchNormalization(name="first_bn")(keras.layers.Conv2D(4, 3, name="first_conv")(inside))
        if nested:
            x = keras.Model(inside, body, name="backbone")(x)
        else:
            x = keras.layers.BatchNormalization(name="first_bn")(keras.layers.Conv2D(4, 3, name="first_conv")(x))
        return keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))


def rescaling(scale: float, offset: float = 0.0) -> Any:
    return import_keras().layers.Rescaling(scale, offset=offset, name="rescale")


def test_without_a_word_a_model_that_normalises_itself_gets_plain_pixels() -> None:
    source = quantize.load(network(rescaling(1 / 127.5, -1)))
    assert (source.contract.input.mean, source.contract.input.scale) == ((0.0,) * 3, (1.0,) * 3)
    assert any("rescale (takes 0..255 to -1..1)" in note for note in source.notes)
    grey = quantize.load(network(rescaling(1 / 255), channels=1))
    assert (grey.contract.input.color, grey.contract.input.mean) == ("gray", (0.0,))


def test_without_a_word_any_other_model_is_an_error_that_says_the_recipes() -> None:
    with pytest.raises(LoadError, match=r"does not normalise its input itself.*--preprocess NAME \(inception, raw, unit\)"):
        quantize.load(network())
    with pytest.raises(LoadError, match="does not tell what it expects"):
        quantize.load(network(rescaling(2.0, -1.0)))  # made for 0..1


@pytest.mark.parametrize("keras", [import_keras, import_tf_keras])
def test_inception_is_recognised_and_its_usual_recipe_is_named(keras: Any) -> None:
    module = keras()
    with quiet():
        image = module.Input((8, 8, 3))
        tensors = [module.layers.Concatenate(name=f"block17_{n}_mixed")([image, image]) for n in range(1, 21)]
        tensors += [module.layers.Concatenate(name=f"block35_{n}_mixed")([image, image]) for n in range(1, 11)]
        tensors += [module.layers.Concatenate(name=f"block8_{n}_mixed")([image, image]) for n in range(1, 11)]
        model = module.Model(image, module.layers.GlobalAveragePooling2D()(module.layers.Add()(tensors)))
    with pytest.raises(LoadError, match="Keras' InceptionResNetV2 was trained with inception"):
        quantize.load(model)


def test_normalising_twice_is_refused() -> None:
    for name in ("inception", "unit"):
        with pytest.raises(LoadError, match="rescale .*contract does so too.*--preprocess raw"):
            quantize.load(network(rescaling(1 / 127.5, -1)), preprocess=name)
    assert quantize.load(network(rescaling(1 / 127.5, -1)), preprocess="raw").contract.input.scale == (1.0, 1.0, 1.0)


def test_a_layer_made_for_small_values_refuses_plain_pixels() -> None:
    with pytest.raises(LoadError, match="expects small values.*--preprocess unit"):
        quantize.load(network(rescaling(2.0, -1.0)), preprocess="raw")
    fitting = quantize.load(network(rescaling(2.0, -1.0)), preprocess="unit")
    assert any("after the contract's preprocessing" in note for note in fitting.notes)


def test_a_layer_that_only_subtracts_a_mean_takes_plain_pixels() -> None:
    keras = import_keras()
    mean = keras.layers.Normalization(mean=[103.9, 116.8, 123.7], variance=[1.0, 1.0, 1.0], name="mean")
    assert quantize.load(network(mean)).contract.input.scale == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("keras", [import_keras, import_tf_keras])
def test_what_the_model_does_is_found_behind_augmentation_and_in_nested_models(keras: Any) -> None:
    module = keras()
    with quiet():
        augmentation = module.Sequential([module.Input((16, 16, 3)), module.layers.RandomFlip()], name="augmentation")
        normalise = module.layers.Normalization(mean=[10.0, 20.0, 30.0], variance=[4.0, 16.0, 64.0], name="normalise")
        model = network(augmentation, normalise, keras=module, nested=True)
    chain = follow(model)
    assert chain.normalisers == ["normalise"]
    np.testing.assert_allclose(chain.scale, [1 / 2, 1 / 4, 1 / 8], rtol=1e-6)
    np.testing.assert_allclose(chain.offset, [-10 / 2, -20 / 4, -30 / 8], rtol=1e-6)
    assert chain.batch_norm.name == "first_bn"
    image = np.random.default_rng(0).uniform(0, 255, (1, 16, 16, 3)).astype(np.float32)
    value = image
    for step in chain.steps:
        value = step(value)
    convolution = model.get_layer("backbone").get_layer("first_conv")
    normal = (image - np.array([10, 20, 30], np.float32)) / np.array([2, 4, 8], np.float32)
    np.testing.assert_allclose(np.asarray(value), np.asarray(convolution(normal)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("keras", [import_keras, import_tf_keras])
def test_arithmetic_written_as_operators_counts_as_normalisation(keras: Any) -> None:
    chain = follow(network(lambda x: x / 255.0, lambda x: x - 0.5, lambda x: x * 2.0, keras=keras()))
    np.testing.assert_allclose([chain.scale[0], chain.offset[0]], [2 / 255, -1.0], rtol=1e-6)
    assert len(chain.normalisers) == 3


def test_a_path_that_forks_before_the_first_convolution_is_not_followed() -> None:
    keras = import_keras()
    with quiet():
        image = keras.Input((16, 16, 3))
        both = keras.layers.Concatenate()([keras.layers.Conv2D(2, 3, padding="same")(image), image])
        model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(both)))
    chain = follow(model)
    assert chain.batch_norm is None
    assert not chain.normalisers


def test_an_opaque_first_layer_leaves_it_to_the_user() -> None:
    keras = import_keras()
    model = network(keras.layers.Lambda(lambda x: (x / 255) ** 0.5, name="opaque"))
    with pytest.raises(LoadError, match="layer 'opaque' may normalise"):
        quantize.load(model)
    assert quantize.load(model, preprocess="raw").contract.input.scale == (1.0, 1.0, 1.0)


def test_contract_and_model_together_give_the_stated_result(tmp_path: Path) -> None:
    """The same photo through contract + model is what one writes by hand, whether the model rescales or the contract does."""
    pixels = np.random.default_rng(3).integers(0, 256, (16, 16, 3), np.uint8)
    plain, inside = network(), network(rescaling(1 / 127.5, -1))
    inside.set_weights(plain.get_weights())
    expected = np.asarray(plain((pixels[None].astype(np.float32) / 127.5 - 1), training=False)[0])
    outside = quantize.load(plain, preprocess="inception")
    within = quantize.load(inside)
    for source in (outside, within):
        found = source.predict(preprocess(pixels, source.contract.input))[source.output_names[0]]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_ways_to_say_it() -> None:
    model = network()
    by_fields = quantize.load(
        model, preprocess={"fit": "letterbox", "color": "bgr", "mean": (1.0, 2.0, 3.0), "scale": (4.0, 5.0, 6.0)}
    )
    spec = by_fields.contract.input
    assert (spec.height, spec.width, spec.fit, spec.color, spec.mean) == (16, 16, "letterbox", "bgr", (1.0, 2.0, 3.0))
    assert quantize.load(model, preprocess=spec).contract.input == spec
    with pytest.raises(LoadError, match="the model takes 16x16x3, the contract says 32x32x3"):
        quantize.load(model, preprocess=InputSpec(width=32, height=32))
    with pytest.raises(LoadError, match="'tensorflow' is not known, expected one of inception"):
        quantize.load(model, preprocess="tensorflow")
