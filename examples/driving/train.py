"""Train one of the driving bot's lines on recorded frames, quantize it, and validate each output against float.

    python examples/driving/train.py DATA --line 0006 --backbone flowers.keras --out bot/

DATA has ``labels.csv`` (columns part, file, steering, throttle, brake, speed; part is train or test) and the frames as ``PART/FILE``
or ``PART/KEY/FILE`` with a column key. ``--backbone`` is a trained InceptionResNetV2 (with or without its top), a weights file of the
headless network, ``imagenet`` (Keras downloads it) or ``none``.

Four steps, each as long as you say (0 leaves it out): ``--front`` trains the layers up to mixed_5b with a head of their own, which takes
a quarter of the time of the whole network and is enough to learn what motion looks like; ``--heads`` calculates the features of all
frames once and trains everything behind the backbone on them; ``--tail`` does the same from the last third of the backbone on;
``--fine-tune`` trains the whole network. While lines of stacked frames are trained, they also answer with the steering of the frames
before, which the motion shows. ``acceleration`` is throttle minus brake. ``--reaction`` and ``--smooth`` say what the driver's answer
to a frame is. Ctrl-C ends a step early, and goes on with what there is.
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
import steps
import tensorflow as tf
from parts import Part

import edge
import quantize

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


def main() -> int:
    """Train, quantize, validate; the exit code is that of `edgekit validate`."""
    args = arguments()
    keras.utils.set_random_seed(0)
    frames = args.frames if args.line == "0006" else 1
    build = LINES[args.line]
    model = build(
        args.size, backbone=start(args.backbone, args.size, frames), **({"frames": frames} if args.line == "0006" else {})
    )
    height, width = args.size
    spec = edge.InputSpec(width=width, height=height, fit=args.fit)
    scales = recording.scales_of(model)
    targets = {"reaction": args.reaction, "smooth": args.smooth}
    train, test = (Part.read(args.data, name, spec, frames, scales, limit=args.limit, **targets) for name in ("train", "test"))
    steps.start_at_the_mean(model, train)
    print(f"{len(train)} frames to train on, {len(test)} to test on; {frames} seen at once", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "bot.keras"

    # Keras cannot save a model from whose middle another was built; its twin it can.
    twin = keras.models.clone_model(model) if args.heads or args.tail or args.fine_tune else model
    # With a handful of frames, the longest by far would be to make graphs of 800 layers.
    tf.config.run_functions_eagerly(args.limit is not None and args.limit <= 100)

    def save() -> None:
        if twin is not model:
            twin.set_weights(model.get_weights())
        twin.save(file)

    plan: list[tuple[str, int, Callable[[], None]]] = [
        ("front", args.front, lambda: steps.train_front(model, train, args.front, 3 * args.rate, args.held_out)),
        ("heads", args.heads, lambda: steps.train_heads(model, train, args.heads, args.rate, args.held_out)),
        ("tail", args.tail, lambda: steps.train_tail(model, train, args.tail, 3 * args.rate, args.held_out, save)),
        (
            "the whole network",
            args.fine_tune,
            lambda: steps.fine_tune(model, train, args.fine_tune, args.rate, args.held_out, save),
        ),
    ]
    for name, epochs, step in plan:
        if epochs:
            begin = time.monotonic()
            print(f"{name}: {epochs} epochs", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                step()
            save()
            found = steps.score(model, test, np.arange(len(test)))
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
            args.data,
            part,
            args.out / f"{part}.csv",
            frames=frames,
            inputs=inputs,
            whole=False,
            limit=args.limit,
            reaction=args.reaction,
            smooth=args.smooth,
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


def size(text: str) -> lines.Size:
    """Return (height, width) from ``96`` or ``96x106``."""
    height, _, width = text.partition("x")
    found = int(height), int(width or height)
    if min(found) < 75:
        raise argparse.ArgumentTypeError(f"{text}: InceptionResNetV2 takes 75 or more")
    return found


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with labels.csv and the frames")
    parser.add_argument("--line", choices=sorted(LINES), default="0006", help="(default: %(default)s)")
    parser.add_argument("--frames", type=int, default=7, help="that line 0006 sees at once (default: %(default)s)")
    parser.add_argument("--backbone", default="imagenet", help="FILE.keras, FILE.h5, imagenet or none (default: %(default)s)")
    parser.add_argument(
        "--size", type=size, default=(75, 75), metavar="N|HxW", help="of the input, 96 or 96x106, from 75 (default: 75)"
    )
    parser.add_argument(
        "--fit", choices=("crop", "stretch"), default="crop", help="how a frame becomes square (default: %(default)s)"
    )
    parser.add_argument("--front", type=int, default=20, metavar="EPOCHS", help="(default: %(default)s)")
    parser.add_argument("--heads", type=int, default=0, metavar="EPOCHS", help="at most (default: %(default)s)")
    parser.add_argument("--tail", type=int, default=0, metavar="EPOCHS", help="(default: %(default)s)")
    parser.add_argument("--fine-tune", type=int, default=8, metavar="EPOCHS", help="(default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=3e-4, help="learning rate; three times as much for front and tail (default: 3e-4)"
    )
    parser.add_argument(
        "--reaction",
        type=int,
        default=0,
        metavar="FRAMES",
        help="learn the steering of so many frames later, what the driver did about the picture (default: %(default)s)",
    )
    parser.add_argument(
        "--smooth",
        type=float,
        default=0.0,
        metavar="FRAMES",
        help="average the signals over time, standard deviation of the Gaussian (default: %(default)s)",
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
    if args.reaction < 0 or args.smooth < 0:
        parser.error("--reaction and --smooth: expected 0 or more frames")
    return args


if __name__ == "__main__":
    try:
        sys.exit(main())
    except edge.EdgeError as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
