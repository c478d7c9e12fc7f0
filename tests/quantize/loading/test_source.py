"""A loaded network as the rest of the package uses it: traced, saved, asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantize
from edge.errors import ShapeError
from quantize.quiet import import_keras, import_tensorflow, quiet


@pytest.fixture(scope="module")
def source() -> quantize.Source:
    keras = import_keras()
    with quiet():
        image = keras.Input((12, 20, 3))
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Dropout(0.5)(keras.layers.Conv2D(4, 3)(image)))
        # Not in alphabetical order, one layer twice: names must stay apart and in the model's order.
        shared = keras.layers.Dense(2, activation="sigmoid", name="tags")
        answers = [keras.layers.Dense(3, activation="softmax", name="zoo")(x), shared(x), shared(2 * x)]
        model = keras.Model(image, answers, name="my>model")
    return quantize.load(model, preprocess="inception")


def photo() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).uniform(-1, 1, (1, 12, 20, 3)).astype(np.float32)


def test_the_traced_function_has_one_fixed_input_and_the_contracts_names(source: quantize.Source) -> None:
    function = source.concrete_function()
    assert function.structured_input_signature[0][0].shape.as_list() == [1, 12, 20, 3]
    assert function.structured_input_signature[0][0].name == "input"
    assert source.output_names == ("zoo", "tags", "tags_1")
    assert sorted(function.structured_outputs) == sorted(source.output_names)
    assert {name: tuple(tensor.shape) for name, tensor in function.structured_outputs.items()} == {
        "zoo": (1, 3),
        "tags": (1, 2),
        "tags_1": (1, 2),
    }
    assert source.concrete_function() is function


def test_it_is_traced_for_inference(source: quantize.Source) -> None:
    ops = {op.type for op in source.concrete_function().graph.get_operations()}
    assert not {op for op in ops if "Random" in op}
    assert source.predict(photo())["zoo"].tolist() == source.predict(photo())["zoo"].tolist()


def test_outputs_belong_to_their_names(source: quantize.Source) -> None:
    expected = source.model(photo(), training=False)
    found = source.predict(photo())
    for name, values in zip(source.output_names, expected, strict=True):
        np.testing.assert_allclose(found[name], values[0], rtol=1e-5)
    assert not np.allclose(found["tags"], found["tags_1"])


def test_trackables_are_what_a_saved_model_needs(source: quantize.Source, tmp_path: Path) -> None:
    tf = import_tensorflow()
    module = tf.Module()
    with quiet():
        function = source.concrete_function()
        module.trackables = source.trackables
        tf.saved_model.save(module, str(tmp_path / "saved"), signatures=function)
    again = quantize.load(tmp_path / "saved", preprocess="inception", outputs="multilabel")
    assert sorted(again.output_names) == sorted(source.output_names)
    for name, values in source.predict(photo()).items():
        np.testing.assert_allclose(again.predict(photo())[name], values, rtol=1e-6)


def test_a_saved_model_can_be_saved_again(source: quantize.Source, tmp_path: Path) -> None:
    tf = import_tensorflow()
    paths = [tmp_path / "one", tmp_path / "two"]
    step = source
    for path in paths:
        module = tf.Module()
        with quiet():
            function = step.concrete_function()
            module.trackables = step.trackables
            tf.saved_model.save(module, str(path), signatures=function)
        step = quantize.load(path, preprocess="inception", outputs="multilabel")
    np.testing.assert_allclose(step.predict(photo())["zoo"], source.predict(photo())["zoo"], rtol=1e-6)


def test_a_wrong_tensor_is_refused(source: quantize.Source) -> None:
    with pytest.raises(ShapeError, match=r"takes float32 \(1, 12, 20, 3\), got float32 \(1, 20, 12, 3\)"):
        source.predict(np.zeros((1, 20, 12, 3), np.float32))
    with pytest.raises(ShapeError, match="got uint8"):
        source.predict(np.zeros((1, 12, 20, 3), np.uint8))


def test_names_are_fit_for_files(source: quantize.Source, tmp_path: Path) -> None:
    assert source.name == "my_model"
    assert quantize.load(source.model, name="../evil", preprocess="raw").name == "_evil"
