"""Train one of the driving bot's lines on recorded frames, quantize it, and validate each output against float.

    python examples/driving/train.py DATA --line 0006 --backbone flowers.keras --out bot/

DATA has ``labels.csv`` (columns part, file, steering, throttle, brake, speed; part is train or test) and the frames as ``PART/FILE``
or ``PART/KEY/FILE`` with a column key. ``--backbone`` is a trained InceptionResNetV2 (with or without its top), a weights file of the
headless network, ``imagenet`` (Keras downloads it) or ``none``.

Three steps, each as long as you say (0 leaves it out): ``--front`` trains the layers up to mixed_5b with a head of their own, which takes
a quarter of the time of the whole network and is enough to learn what motion looks like; ``--heads`` calculates the features of all
frames once and trains everything behind the backbone on them; ``--fine-tune`` trains the whole network. While lines of stacked frames
are trained, they also answer with the steering of the frames before, which the motion shows. ``acceleration`` is throttle minus brake.
Ctrl-C ends a step early, and goes on with what there is.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras  # after the environment, which it reads when it is imported
import lines  # the files beside this one
import recording
import tensorflow as tf
from parts import PAST, Floats, Indices, Part, varied

import edge
import quantize
from edge.metrics import r_squared

BATCH = 32
BLOCK, APART = 50, 5  # frames
FRONT = "mixed_5b"  # the last layer of the front
WEIGHTS = np.array([1.0, 0.25, *[1.0 / PAST] * PAST], np.float32)  # in the loss: steering, acceleration, steering before
LINES = {"0004": lines.line_0004, "0006": lines.line_0006, "0007": lines.line_0007, "0008": lines.line_0008}


def start(backbone: str, size: lines.Size, frames: int) -> keras.Model:
    """Return the headless network to start from."""
    if backbone == "none":
        return lines.backbone(size, frames=frames)
    if backbone == "imagenet" or backbone.endswith(".h5"):
        trained = lines.backbone(size, weights=backbone)
    else:
        trained = keras.models.load_model(backbone, compile=False)
    return lines.widened(trained, size, frames)


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
    fitted, held = split(train, held_out)

    def rows(chosen: Indices, sign: float) -> tuple[Floats | list[Floats], Floats]:
        signs = np.full(len(chosen), sign, np.float32)
        parts = [chosen[i : i + BATCH] for i in range(0, len(chosen), BATCH)]
        features = [backbone.predict_on_batch(train.images(part)[:, :, :: int(sign)]) for part in parts]
        return together(model, np.concatenate(features), train.extras(chosen, signs)), train.answers(chosen, signs)[:, :2]

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


def fine_tune(model: keras.Model, train: Part, epochs: int, rate: float, held_out: float, save: Callable[[], None]) -> None:
    """Train the whole network."""
    image = model.inputs[0]
    # Called anew, so that the normalization goes by each batch; in the line itself it keeps its statistics.
    features = keras.layers.Dropout(0.3)(model.get_layer("backbone")(image))
    steering, acceleration, common = behind_backbone(model)([features, *model.inputs[1:]])
    past = keras.layers.Dense(PAST, name="steering_before")(common)
    network = keras.Model(model.inputs, keras.layers.Concatenate()([steering, acceleration, past]))
    train_by_images(network, train, epochs, rate, held_out, save)


def behind_backbone(model: keras.Model) -> keras.Model:
    """Return what stands behind the backbone: its features and the other inputs -> both outputs and the dense layer's."""
    dense = model.get_layer("image_dense")
    return keras.Model(
        [dense.input, *model.inputs[1:]], [*(model.get_layer(name).output for name in lines.OUTPUTS), dense.output]
    )


def train_by_images(
    network: keras.Model, train: Part, epochs: int, rate: float, held_out: float, save: Callable[[], None]
) -> None:
    """Train on varied images, with a rate that rises for an epoch and then falls to a tenth of a tenth."""
    fitted, held = split(train, held_out)
    batch = min(BATCH, len(fitted))
    steps = len(fitted) // batch
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 10, max(1, (epochs - 1) * steps), alpha=0.01, warmup_target=rate, warmup_steps=steps
    )
    # Compiling it by XLA, which is the default, takes longer on a CPU than it saves.
    network.compile(keras.optimizers.AdamW(schedule, weight_decay=1e-4, clipnorm=1.0), weighted, jit_compile=False)
    rng = np.random.default_rng(0)
    for epoch in range(epochs):
        begin, losses = time.monotonic(), []
        order = rng.permutation(fitted)
        for step in range(steps):
            few = order[step * batch : (step + 1) * batch]
            signs = rng.choice(np.array([-1, 1], np.float32), batch)
            inputs = together(network, varied(train.images(few), signs, rng), train.extras(few, signs))
            losses.append(float(network.train_on_batch(inputs, train.answers(few, signs))))
        save()
        found = score(network, train, held) if len(held) else {}
        scores = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
        seconds = time.monotonic() - begin
        print(f"  epoch {epoch + 1} of {epochs}: loss {np.mean(losses):.4f}, held out R2: {scores} ({seconds:.0f} s)", flush=True)


def together(network: keras.Model, first: Floats, extras: dict[str, Floats]) -> Floats | list[Floats]:
    """Return what a network is fed: the images or features, and what else it takes."""
    return [first, *(extras[tensor.name] for tensor in network.inputs[1:])] if len(network.inputs) > 1 else first


def weighted(targets: keras.KerasTensor, answers: keras.KerasTensor) -> keras.KerasTensor:
    """Return the squared error of each row, its columns weighted by WEIGHTS."""
    return keras.ops.sum(keras.ops.square(targets - answers) * WEIGHTS[: targets.shape[-1]], axis=-1)


def split(part: Part, held_out: float) -> tuple[Indices, Indices]:
    """Return the frames to train on and those held out: stretches of BLOCK frames, spread over the recording.

    Neighbouring frames are nearly the same, so APART frames on both sides of a stretch are in neither.
    """
    frames = np.arange(len(part))
    if not held_out:
        return frames, frames[:0]
    every = round(1 / held_out)
    held = frames[(frames // max(1, min(BLOCK, len(part) // every))) % every == every // 2]
    near = np.min(np.abs(frames[:, np.newaxis] - held), axis=1, initial=len(part)) <= APART
    return frames[~near], held


def score(network: keras.Model, part: Part, chosen: Indices) -> dict[str, float]:
    """Return R2 of each output. network: a line, or one that gives its outputs as the first columns."""
    found = []
    for begin in range(0, len(chosen), BATCH):
        few = chosen[begin : begin + BATCH]
        answer = network.predict_on_batch(together(network, part.images(few), part.extras(few)))
        found.append(np.concatenate([answer[name] for name in lines.OUTPUTS], axis=1) if isinstance(answer, dict) else answer)
    answers = np.concatenate(found)
    return {name: r_squared(answers[:, i], part.targets[chosen, i]) for i, name in enumerate(lines.OUTPUTS)}


def main() -> int:
    """Train, quantize, validate; the exit code is that of `edgekit validate`."""
    args = arguments()
    keras.utils.set_random_seed(0)
    frames = args.frames if args.line == "0006" else 1
    size = (args.size, args.size)
    build = LINES[args.line]
    model = build(size, backbone=start(args.backbone, size, frames), **({"frames": frames} if args.line == "0006" else {}))
    spec = edge.InputSpec(width=args.size, height=args.size, fit=args.fit)
    scales = recording.scales_of(model)
    train, test = (Part.read(args.data, name, spec, frames, scales, args.limit) for name in ("train", "test"))
    print(f"{len(train)} frames to train on, {len(test)} to test on; {frames} seen at once", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "bot.keras"

    # Keras cannot save a model from whose middle another was built; its twin it can.
    twin = keras.models.clone_model(model) if args.heads or args.fine_tune else model
    # With a handful of frames, the longest by far would be to make graphs of 800 layers.
    tf.config.run_functions_eagerly(args.limit is not None and args.limit <= 100)

    def save() -> None:
        if twin is not model:
            twin.set_weights(model.get_weights())
        twin.save(file)

    steps: list[tuple[str, int, Callable[[], None]]] = [
        ("front", args.front, lambda: train_front(model, train, args.front, 3 * args.rate, args.held_out)),
        ("heads", args.heads, lambda: train_heads(model, train, args.heads, args.rate, args.held_out)),
        ("the whole network", args.fine_tune, lambda: fine_tune(model, train, args.fine_tune, args.rate, args.held_out, save)),
    ]
    for name, epochs, step in steps:
        if epochs:
            begin = time.monotonic()
            print(f"{name}: {epochs} epochs", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                step()
            save()
            found = score(model, test, np.arange(len(test)))
            scores = ", ".join(f"{output} {value:.3f}" for output, value in found.items())
            print(f"  R2 on test: {scores} ({time.monotonic() - begin:.0f} s)", flush=True)
    save()
    tf.config.run_functions_eagerly(False)
    return to_int8(args, model, file, frames)


def to_int8(args: argparse.Namespace, model: keras.Model, file: Path, frames: int) -> int:
    """Quantize the network and validate each output of the int8 file against the float one."""
    source = quantize.load(file, preprocess={"fit": args.fit}, outputs="regression", inputs=recording.inputs_of(model))
    inputs = recording.shapes_of(model)
    manifests = {
        part: recording.manifest(
            args.data, part, args.out / f"{part}.csv", frames=frames, inputs=inputs, whole=False, limit=args.limit
        )
        for part in ("train", "test")
    }
    count = min(200, args.limit or 200)
    photos = quantize.RepresentativeDataset.open(manifests["train"], source=source, count=count, strict=args.limit is None)
    made = quantize.post_training_variants(source, photos, ("float32", "int8"), config=quantize.PtqConfig(ranges=args.ranges))
    files = {artefact.variant: artefact.save(args.out) for artefact in made}
    report = edge.validate(files["int8"], manifests["test"], reference=files["float32"])
    print(report.to_text())
    return report.exit_code


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with labels.csv and the frames")
    parser.add_argument("--line", choices=sorted(LINES), default="0006", help="(default: %(default)s)")
    parser.add_argument("--frames", type=int, default=7, help="that line 0006 sees at once (default: %(default)s)")
    parser.add_argument("--backbone", default="imagenet", help="FILE.keras, FILE.h5, imagenet or none (default: %(default)s)")
    parser.add_argument("--size", type=int, default=75, help="width and height of the input, from 75 (default: %(default)s)")
    parser.add_argument(
        "--fit", choices=("crop", "stretch"), default="crop", help="how a frame becomes square (default: %(default)s)"
    )
    parser.add_argument("--front", type=int, default=20, metavar="EPOCHS", help="(default: %(default)s)")
    parser.add_argument("--heads", type=int, default=0, metavar="EPOCHS", help="at most (default: %(default)s)")
    parser.add_argument("--fine-tune", type=int, default=8, metavar="EPOCHS", help="(default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=3e-4, help="learning rate; three times as much for the front (default: 3e-4)"
    )
    parser.add_argument(
        "--held-out",
        type=float,
        default=0.1,
        help="share of the frames that is not trained on, at most 0.5 (default: %(default)s)",
    )
    parser.add_argument(
        "--ranges", choices=("auto", "converter"), default="auto", help="auto: a search that takes minutes (default: %(default)s)"
    )
    parser.add_argument("--limit", type=int, help="take this many frames of each part only (to try it out)")
    parser.add_argument("--out", type=Path, default=Path("bot"), help="folder for the files (default: %(default)s)")
    args = parser.parse_args()
    if not 0 <= args.held_out <= 0.5:
        parser.error(f"--held-out {args.held_out}: expected a share from 0 to 0.5")
    return args


if __name__ == "__main__":
    try:
        sys.exit(main())
    except edge.EdgeError as error:
        sys.exit(f"train.py: error: {error}")
