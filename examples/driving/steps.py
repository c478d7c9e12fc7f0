"""The steps of training a line: its front, its heads, its tail, the whole network, each on the frames of one part."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import keras
import lines  # the files beside this one
import numpy as np
from parts import PAST, Floats, Indices, Part, varied

from edge.numbers.metrics import r_squared

BATCH, LARGE_BATCH = 32, 64
BLOCK, APART = 50, 5  # frames
FRONT = "mixed_5b"  # the last layer of the front
TAIL = "block17_20_ac"  # the layer before the tail
MOMENTUM = 0.9  # of batch normalizations: 0.99 takes three of these short epochs to follow the weights
LIGHTS = (1.0, 0.75)  # in which the tail sees each frame
WEIGHTS = np.array([1.0, 0.25, *[1.0 / PAST] * PAST], np.float32)  # in the loss: steering, acceleration, steering before


def train_front(model: keras.Model, train: Part, epochs: int, rate: float, held_out: float) -> None:
    """Train the layers of the backbone up to FRONT."""
    backbone = model.get_layer("backbone")
    seen = keras.layers.GlobalAveragePooling2D()(backbone.get_layer(FRONT).output)
    common = keras.layers.Dense(256, activation="relu")(keras.layers.Dropout(0.2)(seen))
    network = keras.Model(backbone.input, keras.layers.Dense(2 + PAST)(keras.layers.Dropout(0.2)(common)))
    train_by_images(network, train, epochs, rate, held_out, lambda: None)


def train_heads(model: keras.Model, train: Part, epochs: int, rate: float, held_out: float) -> None:
    """Train everything behind the backbone on features that are calculated once, as the frames are and mirrored."""
    backbone = model.get_layer("backbone")
    behind = behind_backbone(model)
    dropped = [keras.layers.Dropout(0.5)(behind.inputs[0]), *behind.inputs[1:]]
    steering, acceleration, _ = behind(dropped)
    network = keras.Model(behind.inputs, keras.layers.Concatenate()([steering, acceleration]))
    network.compile(keras.optimizers.AdamW(rate, weight_decay=1e-2), weighted, jit_compile=False)
    fitted, held = split(len(train), held_out)

    def rows(chosen: Indices, sign: int) -> tuple[Floats | list[Floats], Floats]:
        signs = np.full(len(chosen), sign, np.float32)
        features = computed(backbone, train, chosen, sign)
        return together(model, features, train.extras(chosen, signs)), train.answers(chosen, signs)[:, :2]

    (plain, targets), (mirrored, mirrored_targets) = rows(fitted, 1), rows(fitted, -1)
    inputs = keras.tree.map_structure(lambda *pair: np.concatenate(pair), plain, mirrored)
    stop = keras.callbacks.EarlyStopping(patience=6, restore_best_weights=True)
    network.fit(
        inputs,
        np.concatenate([targets, mirrored_targets]),
        batch_size=64,
        epochs=epochs,
        validation_data=rows(held, 1) if len(held) else None,
        callbacks=[stop] if len(held) else [],
        verbose=0,
    )


def train_tail(model: keras.Model, train: Part, epochs: int, rate: float, held_out: float, save: Callable[[], None]) -> None:
    """Train the backbone behind TAIL and what follows it, on what is before it, calculated once: as it is, mirrored, bright, dim."""
    backbone = model.get_layer("backbone")
    middle = backbone.get_layer(TAIL).output
    before, tail = keras.Model(backbone.input, middle), keras.Model(middle, backbone.output)
    everything = np.arange(len(train))
    # Half the precision: four versions of 2,000 frames at 96 x 106 are then 0.3 GB.
    known = {
        sign: np.stack([computed(before, train, everything, sign, light).astype(np.float16) for light in LIGHTS])
        for sign in (1, -1)
    }
    image = keras.Input(middle.shape[1:])
    # Called anew, so that the normalization goes by each batch; in the line itself it keeps its statistics.
    features = keras.layers.Dropout(0.3)(tail(image))
    network = keras.Model([image, *model.inputs[1:]], answers(model, [features, *model.inputs[1:]]))
    rng = np.random.default_rng(0)

    def varied_features(chosen: Indices, signs: Floats) -> Floats:
        lights = rng.integers(len(LIGHTS), size=len(chosen))
        return np.stack([known[int(sign)][light, i] for sign, light, i in zip(signs, lights, chosen, strict=True)]).astype(
            np.float32
        )

    def plain_features(chosen: Indices) -> Floats:
        return known[1][0, chosen].astype(np.float32)

    fit(network, train, epochs, rate, held_out, save, shown=(varied_features, plain_features), size=LARGE_BATCH)


def computed(network: keras.Model, part: Part, chosen: Indices, sign: int, light: float = 1.0) -> Floats:
    """Return what ``network`` makes of the chosen frames: sign -1 in a mirror; light: what the values -1..1 are multiplied by."""
    batches = [chosen[i : i + BATCH] for i in range(0, len(chosen), BATCH)]
    found = [network.predict_on_batch(light * part.images(batch)[:, :, ::sign]) for batch in batches]
    features: Floats = np.concatenate(found)
    return features


def fine_tune(model: keras.Model, train: Part, epochs: int, rate: float, held_out: float, save: Callable[[], None]) -> None:
    """Train the whole network."""
    image = model.inputs[0]
    # Called anew, so that the normalization goes by each batch; in the line itself it keeps its statistics.
    features = keras.layers.Dropout(0.3)(model.get_layer("backbone")(image))
    network = keras.Model(model.inputs, answers(model, [features, *model.inputs[1:]]))
    train_by_images(network, train, epochs, rate, held_out, save)


def answers(model: keras.Model, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
    """Return both outputs side by side, and where several frames show motion the steering of the frames before."""
    steering, acceleration, common = behind_backbone(model)(inputs)
    found = [steering, acceleration]
    if model.inputs[0].shape[-1] > 3:
        found.append(keras.layers.Dense(PAST, kernel_initializer="zeros", name="steering_before")(common))
    return keras.layers.Concatenate()(found)


def behind_backbone(model: keras.Model) -> keras.Model:
    """Return what stands behind the backbone: its features and the other inputs -> both outputs and the dense layer's."""
    dense = model.get_layer("image_dense")
    return keras.Model(
        [dense.input, *model.inputs[1:]], [*(model.get_layer(name).output for name in lines.OUTPUTS), dense.output]
    )


def train_by_images(
    network: keras.Model, train: Part, epochs: int, rate: float, held_out: float, save: Callable[[], None]
) -> None:
    """Train on varied images."""
    rng = np.random.default_rng(1)

    def varied_images(chosen: Indices, signs: Floats) -> Floats:
        return varied(train.images(chosen), signs, rng)

    fit(network, train, epochs, rate, held_out, save, shown=(varied_images, train.images), size=BATCH)


def fit(
    network: keras.Model,
    train: Part,
    epochs: int,
    rate: float,
    held_out: float,
    save: Callable[[], None],
    *,
    shown: tuple[Callable[[Indices, Floats], Floats], Callable[[Indices], Floats]],
    size: int,
) -> None:
    """Train with a rate that rises for an epoch and then falls to a hundredth.

    shown: what the network sees of chosen frames, to train (mirrored where a sign is -1) and to be scored. size: of a batch.
    """
    fitted, held = split(len(train), held_out)
    batch = min(size, len(fitted))
    steps = len(fitted) // batch
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 10, max(1, (epochs - 1) * steps), alpha=0.01, warmup_target=rate, warmup_steps=steps
    )
    for layer in normalizing(network):
        layer.momentum = MOMENTUM
    # Compiling it by XLA, which is the default, takes longer on a CPU than it saves.
    network.compile(keras.optimizers.AdamW(schedule, weight_decay=1e-4, clipnorm=1.0), weighted, jit_compile=False)
    rng = np.random.default_rng(0)
    varied_view, plain_view = shown
    for epoch in range(epochs):
        begin, losses = time.monotonic(), []
        order = rng.permutation(fitted)
        for step in range(steps):
            few = order[step * batch : (step + 1) * batch]
            signs = rng.choice(np.array([-1, 1], np.float32), batch)
            inputs = together(network, varied_view(few, signs), train.extras(few, signs))
            targets = train.answers(few, signs)[:, : network.output_shape[-1]]
            losses.append(float(network.train_on_batch(inputs, targets)))
        save()
        found = score(network, train, held, plain_view) if len(held) else {}
        scores = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
        seconds = time.monotonic() - begin
        print(f"  epoch {epoch + 1} of {epochs}: loss {np.mean(losses):.4f}, held out R2: {scores} ({seconds:.0f} s)", flush=True)


def normalizing(network: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield the batch normalizations of a network and of those inside it."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from normalizing(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            yield layer


def together(network: keras.Model, first: Floats, extras: dict[str, Floats]) -> Floats | list[Floats]:
    """Return what a network is fed: the images or features, and what else it takes."""
    return [first, *(extras[tensor.name] for tensor in network.inputs[1:])] if len(network.inputs) > 1 else first


def weighted(targets: keras.KerasTensor, answers: keras.KerasTensor) -> keras.KerasTensor:
    """Return the squared error of each row, its columns weighted by WEIGHTS."""
    return keras.ops.sum(keras.ops.square(targets - answers) * WEIGHTS[: targets.shape[-1]], axis=-1)


def split(count: int, held_out: float) -> tuple[Indices, Indices]:
    """Return which of ``count`` frames to train on and those held out: stretches of BLOCK frames, spread over the recording.

    Neighbouring frames are nearly the same, so APART frames on both sides of a stretch are in neither.
    """
    frames = np.arange(count)
    if not held_out:
        return frames, frames[:0]
    every = round(1 / held_out)
    held = frames[(frames // max(1, min(BLOCK, count // every))) % every == every // 2]
    near = np.min(np.abs(frames[:, np.newaxis] - held), axis=1, initial=count) <= APART
    return frames[~near], held


def start_at_the_mean(model: keras.Model, train: Part) -> None:
    """Let every output answer the mean of its targets, whatever it sees.

    With random weights the outputs are far off at first, and the errors of acceleration, which is nearly always 1, would drown those
    of steering for many epochs.
    """
    for name, mean in zip(lines.OUTPUTS, train.targets[:, : len(lines.OUTPUTS)].mean(axis=0), strict=True):
        kernel, bias = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([np.zeros_like(kernel), np.full_like(bias, mean)])


def score(
    network: keras.Model, part: Part, chosen: Indices, shown: Callable[[Indices], Floats] | None = None
) -> dict[str, float]:
    """Return R2 of each output. network: a line, or one that gives its outputs as the first columns. shown: as in `fit`."""
    shown = shown or part.images
    found = []
    for begin in range(0, len(chosen), BATCH):
        few = chosen[begin : begin + BATCH]
        answer = network.predict_on_batch(together(network, shown(few), part.extras(few)))
        found.append(np.concatenate([answer[name] for name in lines.OUTPUTS], axis=1) if isinstance(answer, dict) else answer)
    answers = np.concatenate(found)
    return {name: r_squared(answers[:, i], part.targets[chosen, i]) for i, name in enumerate(lines.OUTPUTS)}
