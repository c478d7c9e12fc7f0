"""Channels taken out: which can go, that those that nothing reads leave no trace, and that weights fall as calculated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from quantize.errors import ConversionError
from quantize.quiet import import_keras
from quantize.shrinking import channels as rules
from quantize.shrinking.flat import flat
from quantize.shrinking.structure import look
from quantize.shrinking.surgery import Cut, apply
from tests.quantize.shrinking.test_blocks import TOLERANCE, difference, pictures

pytestmark = pytest.mark.converts

Network = Callable[[str], Any]
SMALL = ["two heads", "RegNet"]
LARGE = ["InceptionResNetV2", "ResNet50", "MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "DenseNet121", "Xception", "VGG16"]


def copied(model: Any) -> Any:
    copy = import_keras().models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def every_other(model: Any, limit: int = 12) -> dict[str, tuple[int, ...]]:
    """Keep the odd channels of some of the convolutions, over the whole depth."""
    found = look(model).channels
    chosen = found[:: max(1, len(found) // limit)]
    return {group.name: tuple(range(1, group.count, 2)) for group in chosen}


def silenced(model: Any, kept: dict[str, tuple[int, ...]]) -> Any:
    """Return a copy of ``model`` whose consumers have weights of zero for the channels that are not ``kept``."""
    copy = copied(model)
    network = flat(copy)
    flow = rules.follow(network)
    gone = {
        number
        for group in rules.groups(network)
        if group.step.path in kept
        for channel, number in enumerate(group.numbers)
        if channel not in kept[group.step.path]
    }
    for group in rules.groups(network):
        if group.step.path not in kept:
            continue
        for step in group.consumers:
            silent = np.isin(flow.of[step.sources[0]], list(gone))
            if step.kind == "SeparableConv2D":
                step.layer.depthwise_kernel.assign(np.where(silent[:, None], 0.0, np.asarray(step.layer.depthwise_kernel)))
            else:
                mask = silent if step.kind == "Conv2DTranspose" else silent[:, None]
                step.layer.kernel.assign(np.where(mask, 0.0, np.asarray(step.layer.kernel)))
    return copy


@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_channels_that_nothing_reads_go_without_a_trace(network: Network, name: str) -> None:
    kept = every_other(network(name))
    assert len(kept) > 2
    model = silenced(network(name), kept)
    smaller = apply(model, Cut(kept=kept))
    tensors = pictures(model)
    assert difference(model(tensors, training=False), smaller(tensors, training=False)) < TOLERANCE
    assert smaller.count_params() < model.count_params()
    for path, channels in kept.items():
        layer = next(step.layer for step in flat(smaller).steps if step.path == path)
        assert layer.filters == len(channels)


def test_what_hangs_together_in_a_block_with_squeeze_and_excitation(network: Network) -> None:
    found = {group.name: group for group in look(network("RegNet")).channels}
    # The stream is added to, and a grouped convolution mixes in its own way: only the stem and the reductions inside can go.
    assert list(found) == ["stem", "s1b1_se1", "s1b2_se1", "s2b1_se1", "s2b2_se1", "s2b3_se1"]
    assert set(found["stem"].consumers) == {"s1b1_a", "s1b1_p"}
    assert {name: group.consumers for name, group in found.items() if name != "stem"} == {
        f"{block}_se1": (f"{block}_se2",) for block in ("s1b1", "s1b2", "s2b1", "s2b2", "s2b3")
    }
    model = squeezed()
    mobile = {group.name: group.consumers for group in look(model).channels}
    # The convolution that makes the gate loses the same channels as the one whose output it multiplies.
    assert mobile == {"expand": ("se1", "project"), "se1": ("se2",), "project": ("end",)}
    silent = silenced(model, {"expand": (2, 3, 11)})
    smaller = apply(silent, Cut(kept={"expand": (2, 3, 11)}))
    assert difference(silent(pictures(model), training=False), smaller(pictures(model), training=False)) < TOLERANCE
    assert smaller.get_layer("se2").filters == 3


def squeezed() -> Any:
    layers = import_keras().layers
    picture = import_keras().Input((12, 12, 3))
    x = layers.BatchNormalization()(layers.Conv2D(16, 1, use_bias=False, name="expand")(picture))
    x = layers.DepthwiseConv2D(3, padding="same", name="depth")(layers.Activation("hard_silu")(x))
    y = layers.Reshape((1, 1, 16))(layers.GlobalAveragePooling2D()(x))
    y = layers.Conv2D(16, 1, activation="sigmoid", name="se2")(layers.Conv2D(8, 1, activation="relu", name="se1")(y))
    x = layers.Conv2D(8, 1, name="project")(layers.Multiply()([x, y]))
    return import_keras().Model(picture, layers.Dense(3, name="end")(layers.Flatten()(x)), name="squeezed")


def test_parameters_fall_as_calculated() -> None:
    layers = import_keras().layers
    picture = import_keras().Input((12, 12, 3))
    one = layers.Conv2D(8, 3, name="one")(picture)
    two = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, use_bias=False, name="two")(picture))
    x = layers.PReLU(shared_axes=[1, 2], name="slope")(layers.Concatenate()([two, one, one]))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depth")(x)
    x = layers.SeparableConv2D(5, 3, depth_multiplier=2, name="apart")(x)
    x = layers.Conv2DTranspose(4, 2, name="up")(x)
    x = layers.Flatten()(layers.MaxPooling2D(3)(x))
    model = import_keras().Model(picture, layers.Dense(3, name="end")(x))
    found = look(model).channels
    assert {(group.name, group.count, group.consumers) for group in found} == {
        ("one", 8, ("apart",)),
        ("two", 6, ("apart",)),
        ("apart", 5, ("up",)),
    }
    kept = {"one": (0, 3, 7), "two": (1, 5), "apart": (4,)}
    silent = silenced(model, kept)
    smaller = apply(silent, Cut(kept=kept))
    tensors = pictures(model)
    assert difference(silent(tensors, training=False), smaller(tensors, training=False)) < TOLERANCE
    expected = {
        "one": 3 * 3 * 3 * 3 + 3,
        "two": 3 * 3 * 3 * 2,
        "norm": 4 * 2,
        "slope": 2 + 2 * 3,
        "depth": 3 * 3 * 8 * 2 + 16,
        "apart": 3 * 3 * 16 * 2 + 32 * 1 + 1,
        "up": 2 * 2 * 1 * 4 + 4,
        "end": model.get_layer("end").count_params(),
    }
    assert {name: smaller.get_layer(name).count_params() for name in expected} == expected


def test_blocks_and_channels_together(network: Network) -> None:
    model = network("two heads")
    name = look(model).channels[-1].name
    assert name == "backbone/b2_in"
    silent = silenced(model, {name: (0, 5)})
    both = apply(silent, Cut(blocks=frozenset({look(model).blocks[0].name}), kept={name: (0, 5)}))
    one = apply(silent, Cut(blocks=frozenset({look(model).blocks[0].name})))
    assert difference(one(pictures(model), training=False), both(pictures(model), training=False)) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "channels", "message"),
    [
        ("s2b2_c", (0,), "channels of 's2b2_c' cannot go"),
        ("stem", (), r"channels \[\] to keep of 'stem', expected at least one of 0..7, ascending"),
        ("stem", (3, 1), "ascending"),
        ("stem", (1, 8), "expected at least one of 0..7"),
    ],
)
def test_what_cannot_be_kept_is_refused(network: Network, name: str, channels: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        apply(network("RegNet"), Cut(kept={name: channels}))


def test_channels_that_must_stay() -> None:
    """Those of an output, before a softmax over them, in front of a layer normalisation, and of a layer that is called twice."""
    layers = import_keras().layers
    picture = import_keras().Input((8, 8, 3))
    shared, four = layers.Conv2D(3, 1, name="shared"), layers.Conv2D(4, 1, name="free")
    x = layers.Conv2D(5, 1, activation="softmax", name="soft")(shared(shared(picture)))
    x = layers.LayerNormalization()(layers.Conv2D(6, 1, name="normed")(x))
    x = layers.Conv2D(7, 1, name="end")(four(x))
    assert [group.name for group in look(import_keras().Model(picture, x)).channels] == ["free"]


@pytest.mark.parametrize(
    ("count", "share", "kept"), [(64, 0.5, 32), (192, 0.7, 136), (48, 0.1, 8), (6, 0.5, 6), (64, 1.0, 64), (20, 0.99, 20)]
)
def test_counts_are_rounded_to_what_kernels_use(count: int, share: float, kept: int) -> None:
    assert rules.rounded(count, share) == kept
