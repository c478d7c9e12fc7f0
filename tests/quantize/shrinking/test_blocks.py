"""Residual blocks taken out: what is found, what is left, and that it answers as the original would with the branch at zero."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize.errors import ConversionError
from quantize.quiet import import_keras
from quantize.shrinking.flat import flat
from quantize.shrinking.structure import look
from quantize.shrinking.surgery import Cut, apply, gated

pytestmark = pytest.mark.converts

Network = Callable[[str], Any]
SMALL = ["two heads", "RegNet", "MobileNetV2"]
FOUND = {
    "two heads": 3,
    "RegNet": 3,
    "MobileNetV2": 10,
    **dict.fromkeys(["InceptionResNetV2"], 40),
    **dict.fromkeys(["ResNet50", "ResNet50V2"], 12),
    "MobileNetV3Small": 6,
    "EfficientNetB0": 9,
    "Xception": 8,
}
TOLERANCE = 1e-5
"""Largest difference, relative to the largest output: float32 through up to 250 layers, a scale folded into 40 of them."""


def flattened(answer: Any) -> np.ndarray[Any, Any]:
    return np.concatenate([np.asarray(part).ravel() for part in import_keras().tree.flatten(answer)])


def difference(one: Any, other: Any) -> float:
    a, b = flattened(one), flattened(other)
    return float(np.abs(a - b).max() / np.abs(a).max())


def pictures(model: Any, count: int = 2) -> np.ndarray[Any, Any]:
    shape = tuple(model.inputs[0].shape[1:])
    return np.random.default_rng(3).uniform(-1, 1, (count, *shape)).astype(np.float32)


@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in FOUND if name not in SMALL)])
def test_every_block_is_found_and_none_with_a_projection(network: Network, name: str) -> None:
    model = network(name)
    blocks = look(model).blocks
    assert len(blocks) == FOUND[name]
    paths = [step.path for step in flat(model).steps]
    assert [block.name for block in blocks] == sorted((block.name for block in blocks), key=paths.index)
    insides = [layer for block in blocks for layer in block.inside]
    assert len(set(insides)) == len(insides)


@pytest.mark.parametrize("name", [*SMALL, pytest.param("InceptionResNetV2", marks=pytest.mark.slow)])
def test_a_network_without_blocks_answers_as_the_original_with_its_gates_shut(
    network: Network, name: str, tmp_path: Path
) -> None:
    model = network(name)
    before, tensors = model.get_weights(), pictures(model)
    structure = look(model)
    removed = [block for i, block in enumerate(structure.blocks) if i % 2 == 0]
    gates = np.ones((2, len(structure.blocks)), np.float32)
    gate_all = gated(model, structure)
    assert difference(model(tensors, training=False), gate_all([tensors, gates], training=False)) < TOLERANCE
    gates[:, ::2] = 0.0
    shut = gate_all([tensors, gates], training=False)
    smaller = apply(model, Cut(blocks=frozenset(block.name for block in removed)))
    assert difference(shut, smaller(tensors, training=False)) < TOLERANCE

    gone = {layer for block in removed for layer in block.inside}
    of = {step.path: step.layer for step in flat(model).steps}
    assert model.count_params() - smaller.count_params() == sum(
        of[layer].count_params() for layer in gone if step_counts(of[layer])
    )
    assert [block.name for block in look(smaller).blocks] == [block.name for block in structure.blocks if block not in removed]
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))

    smaller.save(tmp_path / "smaller.keras")
    np.save(tmp_path / "pictures.npy", tensors)
    script = (
        "import sys, keras, numpy\n"
        "model = keras.models.load_model('smaller.keras')\n"
        "answer = keras.tree.flatten(model(numpy.load('pictures.npy'), training=False))\n"
        "numpy.save('answer.npy', numpy.concatenate([numpy.asarray(part).ravel() for part in answer]))\n"
        "assert not {'edge', 'quantize'} & {name.partition('.')[0] for name in sys.modules}"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False, env={}
    )
    assert run.returncode == 0, run.stderr
    assert difference(shut, np.load(tmp_path / "answer.npy")) < TOLERANCE


def step_counts(layer: Any) -> bool:
    return hasattr(layer, "count_params")


def test_a_gate_acts_on_its_own_picture_and_block(network: Network) -> None:
    model = network("RegNet")
    structure = look(model)
    gates = np.ones((3, 3), np.float32)
    gates[1, 2] = gates[2, 0] = 0.0
    same = np.repeat(pictures(model, 1), 3, axis=0)
    answers = np.asarray(gated(model, structure)([same, gates], training=False))
    for row, names in enumerate(([], ["s2b3_add"], ["s1b2_add"])):
        expected = apply(model, Cut(blocks=frozenset(names)))(same[:1], training=False)
        assert difference(expected, answers[row]) < TOLERANCE


def test_a_block_whose_branch_is_zero_can_go_without_a_trace(network: Network) -> None:
    model = import_keras().models.clone_model(network("RegNet"))
    model.set_weights(network("RegNet").get_weights())
    tensors = pictures(model)
    for weight in model.get_layer("s2b2_c_bn").trainable_weights:
        weight.assign(weight * 0.0)
    model.get_layer("s2b2_c_bn").moving_mean.assign(model.get_layer("s2b2_c_bn").moving_mean * 0.0)
    smaller = apply(model, Cut(blocks=frozenset({"s2b2_add"})))
    assert difference(model(tensors, training=False), smaller(tensors, training=False)) < TOLERANCE
    assert "s2b2_c" not in {layer.name for layer in smaller.layers}


def multiplications(model: Any) -> int:
    """Return those of the convolutions for one picture of 32x32 pixels: the size of each kernel times the places of its output."""
    made = 0
    for step in flat(model).steps:
        if step.kind == "Conv2D":
            made += step.layer.kernel.shape.num_elements() * (16 * 16)  # the stem halves the picture, the blocks keep its size
    return made


def test_multiplications_fall_as_calculated(network: Network) -> None:
    model = network("two heads")
    block, narrow = look(model).blocks[0].name, look(model).channels[-1].name
    smaller = apply(model, Cut(blocks=frozenset({block}), kept={narrow: (0, 1, 2, 3, 8, 9, 10, 11)}))
    of_a_block = 16 * 16 * (16 * 12 + 3 * 3 * 12 * 16)
    assert multiplications(model) - multiplications(smaller) == of_a_block + of_a_block * 4 // 12


def test_no_relu_is_left_behind_another(network: Network) -> None:
    """``relu(relu(x))`` is the same as ``relu(x)``, and an op of its own on a board."""
    model = network("RegNet")
    smaller = apply(model, Cut(blocks=frozenset({"s2b2_add", "s2b3_add"})))
    names = {layer.name for layer in smaller.layers}
    assert "s2b1_out" in names
    assert names.isdisjoint({"s2b2_out", "s2b3_out"})


def test_names_of_inputs_and_outputs_stay(network: Network) -> None:
    smaller = apply(network("two heads"), Cut(blocks=frozenset({look(network("two heads")).blocks[1].name})))
    assert smaller.inputs[0].name == "picture"
    assert list(smaller.output) == ["steer", "stop"]
    assert {layer.name for layer in smaller.get_layer("backbone").layers}.isdisjoint({"b1_in", "b1_bn", "b1_relu", "b1_out"})


def test_another_input_size(network: Network) -> None:
    model = network("two heads")
    smaller = apply(model, Cut(size=(24, 40)))
    assert smaller.input_shape == (None, 24, 40, 3)
    tensors = np.random.default_rng(0).uniform(0, 255, (4, 24, 40, 3)).astype(np.float32)
    pooled = np.asarray(model.get_layer("backbone")(tensors / 127.5 - 1.0, training=False)).mean((1, 2))
    expected = [model.get_layer(name)(pooled) for name in ("steer", "stop")]
    answers = smaller(tensors, training=False)
    assert difference(expected, [answers["steer"], answers["stop"]]) < TOLERANCE


def test_a_size_that_a_layer_does_not_take_is_refused_in_a_line() -> None:
    layers = import_keras().layers
    picture = import_keras().Input((16, 16, 3))
    x = layers.Add()([picture, layers.Conv2D(3, 3, padding="same")(picture)])
    model = import_keras().Model(picture, layers.Dense(2)(layers.Flatten()(x)), name="fixed")
    with pytest.raises(ConversionError, match=r"^fixed: cannot be rebuilt at 8x8 pixels: [^\n]*$"):
        apply(model, Cut(size=(8, 8)))


def test_what_is_no_block_is_refused_with_those_that_are(network: Network) -> None:
    with pytest.raises(
        ConversionError, match=r"^regnet: 's2b1_add' is no block that can be removed; expected one of s1b2_add, s2b2_add"
    ):
        apply(network("RegNet"), Cut(blocks=frozenset({"s2b1_add"})))


def test_sums_that_must_stay() -> None:
    """One that is an output, one of another input, one that a shared layer makes, and one with weights on both sides."""
    keras = import_keras()
    layers = keras.layers
    picture, other = keras.Input((8, 8, 4)), keras.Input((8, 8, 4))
    shared = layers.Conv2D(4, 1)
    x = layers.ReLU()(layers.Add(name="both")([layers.Conv2D(4, 1)(picture), layers.Conv2D(4, 3, padding="same")(picture)]))
    x = layers.ReLU()(layers.Add(name="foreign")([x, layers.Conv2D(4, 1)(other)]))
    x = layers.Add(name="shared_1")([x, shared(x)])
    x = layers.Add(name="shared_2")([x, shared(x)])
    x = layers.Add(name="good")([layers.Conv2D(4, 1)(x), x])
    x = layers.Add(name="end")([x, layers.Conv2D(4, 1)(x)])
    assert [block.name for block in look(keras.Model([picture, other], x)).blocks] == ["good"]


def test_nothing_to_remove_and_no_layers() -> None:
    keras: Any = import_keras()
    with pytest.raises(ConversionError, match=r"plain: nothing in it can be removed"):
        look(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="plain"))

    with pytest.raises(ConversionError, match="never-built"):
        look(type("Own", (keras.Model,), {})(name="own"))
    with pytest.raises(ConversionError, match="no Keras 3 model"):
        look(keras.layers.Dense(3, name="dense"))
