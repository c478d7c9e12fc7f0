"""The driving bot's model lines: an InceptionResNetV2 that answers a camera frame with steering and acceleration.

Each function builds one line as a Keras model with random weights (``backbone=`` starts from a trained one). The parameter counts
of ``PUBLISHED`` are what the lines' authors state, and every line here has exactly that many. The widths of the image branch and
of the heads are theirs; the widths behind the history inputs of 0007 and 0008 are not published: those below were searched for so
that the counts come out, and are one of several ways to get them.

    model = line_0004((96, 96))
    model.count_params()      # 56,470,434
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np

OUTPUTS = ("steering", "acceleration")
HEAD = (256, 64, 16)  # each a quarter of the last; the first a quarter of IMAGE_WIDTH
IMAGE_WIDTH = 1024  # the dense layer behind the backbone
BRIGHTNESS = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue (ITU-R BT.601)
STEPS = 60  # past values of each signal
SIGNALS = ("past_acceleration", "past_steering", "past_speed")
PURPOSE = 2  # values of the purpose vector of 0007: where the bot shall go
HISTORY_VALUES = 9  # per step in 0008: acceleration, steering, speed, and a purpose vector of six
HISTORY_ONLY_VALUES = 10  # per step of the history-only model

PUBLISHED = {
    "0004": 56_470_434,
    "0005": 56_470_434,
    "0006": 56_475_618,
    "0006 (3 frames)": 56_472_162,
    "0007": 61_024_674,
    "0008": 59_917_858,
    "0008 (history only)": 606_162,
    "0010": 112_381_058,
}

Size = tuple[int, int]


def backbone(size: Size, *, frames: int = 1, name: str = "backbone", weights: str | None = None) -> keras.Model:
    """Return the headless network ``(height, width, 3 * frames)`` -> 1536 features.

    ``weights="imagenet"`` downloads Keras' weights once; a path of a weights file of the headless network downloads nothing.
    """
    image = keras.Input((*size, 3 * frames))
    # As input_tensor, because Keras warns about other than 1 or 3 channels in an input_shape.
    return keras.applications.InceptionResNetV2(include_top=False, weights=weights, input_tensor=image, pooling="avg", name=name)


def widened(trained: keras.Model, size: Size, frames: int) -> keras.Model:
    """Return the headless network on ``frames`` stacked frames, with the weights of ``trained``: a network of one, top or not.

    The three newest frames start as the colours of one picture: what the trained network saw in red it now sees in the newest
    frame's brightness, green in that of the frame before, blue in that of the one before that. What moved has coloured edges, and
    the side of a colour says in which direction: features that a trained network has. Older frames start at zero.
    """
    network = backbone(size, frames=frames)
    # The same layers in the same order; what stands behind the last of them is the old top.
    values = [variable.numpy() for variable in trained.weights[: len(network.weights)]]
    if frames > 1:
        kernel = np.zeros(network.weights[0].shape, np.float32)
        for colour in range(min(frames, 3)):
            newest = 3 * (frames - 1 - colour)
            kernel[:, :, newest : newest + 3] = values[0][:, :, colour, np.newaxis] * BRIGHTNESS[:, np.newaxis]
        values[0] = kernel
    network.set_weights(values)
    return network


def line_0004(size: Size, *, backbone: keras.Model | None = None) -> keras.Model:
    """One frame -> backbone -> Dense 1024 -> two heads of three dense layers -> steering and acceleration."""
    return _image_line(size, 1, backbone)


def line_0005(size: Size, *, weights: str = "imagenet") -> keras.Model:
    """0004 with a backbone that starts from ImageNet weights: a download, or the path of a weights file."""
    return _image_line(size, 1, backbone(size, weights=weights))


def line_0006(size: Size, *, frames: int = 7, backbone: keras.Model | None = None) -> keras.Model:
    """0004 on the last ``frames`` frames, oldest first, stacked as channels: 21 of them for 7 frames, 9 for 3."""
    return _image_line(size, frames, backbone)


def line_0007(size: Size, *, backbone: keras.Model | None = None) -> keras.Model:
    """0004 and the last 60 values of three signals and a purpose vector, each through dense layers, joined behind the backbone."""
    image, features = _image(size, 1, backbone)
    inputs = [image]
    joined = [_dense(features, 2048, "image_dense")]
    for name, values in (*((signal, STEPS) for signal in SIGNALS), ("purpose", PURPOSE)):
        history = keras.Input((values,), name=name)
        inputs.append(history)
        joined.append(_dense(_dense(history, 512, f"{name}_dense_1"), 128, f"{name}_dense_2"))
    common = _dense(keras.layers.Concatenate(name="joined")(joined), IMAGE_WIDTH, "common_dense")
    return keras.Model(inputs, _heads(common), name="line_0007")


def history_branch(*, values: int, dense: Sequence[int], lstm: Sequence[int], name: str = "history_branch") -> keras.Model:
    """Return the branch ``(60, values)`` -> TimeDistributed dense layers -> LSTM layers -> the last one's final state."""
    history = keras.Input((STEPS, values))
    found = history
    for i, width in enumerate(dense, 1):
        layer = keras.layers.Dense(width, activation="relu")
        found = keras.layers.TimeDistributed(layer, name=f"step_dense_{i}")(found)
    for i, width in enumerate(lstm, 1):
        found = keras.layers.LSTM(width, return_sequences=i < len(lstm), name=f"lstm_{i}")(found)
    return keras.Model(history, found, name=name)


def line_0008(
    size: Size,
    *,
    backbone: keras.Model | None = None,
    branch: keras.Model | None = None,
    auxiliary: bool = False,
) -> keras.Model:
    """0004 and the history as a sequence of 60 steps, through TimeDistributed dense and LSTM layers.

    ``branch`` replaces the two LSTM layers of the published count (five of them, or a trained one). ``auxiliary`` adds a steering
    and an acceleration head to each branch alone, which trains both branches to be of use by themselves.
    """
    image, features = _image(size, 1, backbone)
    history = keras.Input((STEPS, HISTORY_VALUES), name="history")
    seen = _dense(features, IMAGE_WIDTH, "image_dense")
    branch = branch or history_branch(values=HISTORY_VALUES, dense=(256, 128), lstm=(512, 256))
    remembered = branch(history)
    common = _dense(keras.layers.Concatenate(name="joined")([seen, remembered]), IMAGE_WIDTH, "common_dense")
    outputs = _heads(common)
    if auxiliary:
        outputs |= _heads(seen, "_by_image") | _heads(remembered, "_by_history")
    return keras.Model([image, history], outputs, name="line_0008")


def history_only(*, branch: keras.Model | None = None) -> keras.Model:
    """The history alone: 60 steps -> TimeDistributed dense -> two LSTM layers -> Dense 16 -> steering and acceleration."""
    branch = branch or history_branch(values=HISTORY_ONLY_VALUES, dense=(1024,), lstm=(128, 8))
    history = keras.Input(branch.input_shape[1:], name="history")
    common = _dense(branch(history), 16, "common_dense")
    return keras.Model(history, {name: _output(common, name) for name in OUTPUTS}, name="history_only")


def line_0009(size: Size, *, image_model: keras.Model, history_model: keras.Model) -> keras.Model:
    """0008 with the backbone of a trained line (0004 to 0008) and the LSTM branch of another (0008 or a history-only model)."""
    return line_0008(
        size,
        backbone=copied(image_model.get_layer("backbone")),
        branch=copied(history_model.get_layer("history_branch")),
    )


def line_0010(size: Size, *, backbones: Sequence[keras.Model] | None = None) -> keras.Model:
    """Two networks on one frame, each with a backbone, a Dense 1024 and one head of its own: one for each output."""
    image = keras.Input((*size, 3), name="image")
    backbones = backbones or [backbone(size, name=f"backbone_{name}") for name in OUTPUTS]
    outputs = {}
    for name, own in zip(OUTPUTS, backbones, strict=True):
        features = _dense(own(image, training=False), IMAGE_WIDTH, f"{name}_image_dense")
        outputs[name] = _head(features, name)
    return keras.Model(image, outputs, name="line_0010")


def copied(model: keras.Model) -> keras.Model:
    """Return a copy with the same weights: the models that share them are trained on independently."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def stacked(trained: keras.Model, frames: int) -> keras.Model:
    """Return a backbone for ``frames`` stacked frames that answers a still scene as ``trained`` answers one frame.

    The first convolution's kernel is repeated for every frame and divided by their number; all other weights are the same.
    """
    height, width = trained.input_shape[1:3]
    wide = backbone((height, width), frames=frames, name=trained.name)
    first, *rest = trained.get_weights()
    wide.set_weights([np.tile(first, (1, 1, frames, 1)) / frames, *rest])
    return wide


LINES: dict[str, Callable[[Size], keras.Model]] = {
    "0004": line_0004,
    "0006": line_0006,
    "0006 (3 frames)": lambda size: line_0006(size, frames=3),
    "0007": line_0007,
    "0008": line_0008,
    "0008 (history only)": lambda size: history_only(),
    "0010": line_0010,
}
"""The lines that are built from nothing else (0005 wants weights, 0009 two trained models)."""


def _image_line(size: Size, frames: int, trained: keras.Model | None) -> keras.Model:
    image, features = _image(size, frames, trained)
    outputs = _heads(_dense(features, IMAGE_WIDTH, "image_dense"))
    return keras.Model(image, outputs, name="line_0004" if frames == 1 else "line_0006")


def _image(size: Size, frames: int, trained: keras.Model | None) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return the image input and the backbone's features of it."""
    image = keras.Input((*size, 3 * frames), name="image")
    network = trained or backbone(size, frames=frames)
    # training=False: batch normalization keeps its trained statistics, also while the convolutions are fine-tuned.
    return image, network(image, training=False)


def _dense(tensor: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    return keras.layers.Dense(width, activation="relu", name=name)(tensor)


def _heads(tensor: keras.KerasTensor, suffix: str = "") -> dict[str, keras.KerasTensor]:
    return {name + suffix: _head(tensor, name + suffix) for name in OUTPUTS}


def _head(tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
    for i, width in enumerate(HEAD, 1):
        tensor = _dense(tensor, width, f"{name}_dense_{i}")
    return _output(tensor, name)


def _output(tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.Dense(1, name=name)(tensor)
