"""Fine-tune the driving bot's line 0004 on recorded frames, quantize it, and validate each output against float.

    python examples/driving/train.py DATA --backbone flowers.keras --out bot/

DATA has ``labels.csv`` (columns part, file, steering, throttle, brake; part is train or test) and the frames as ``PART/FILE`` or
``PART/KEY/FILE`` with a column key. ``--backbone`` is a trained InceptionResNetV2 (with or without its top), a weights file of the
headless network, ``imagenet`` (Keras downloads it) or ``none``.

First the backbone's features of every frame are calculated once, as they are and mirrored, and the heads are trained on them; then
the whole network is trained with small steps. ``acceleration`` is throttle minus brake.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras  # after the environment, which it reads when it is imported
import lines  # the file beside this one
from numpy.typing import NDArray

import edge
import quantize
from edge.metrics import r_squared
from edge.preprocess import load_pixels

Floats = NDArray[np.float32]
BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """The frames of one part: ``pixels`` uint8 ``(n, H, W, 3)``, ``targets`` float32 ``(n, 2)`` in the order of lines.OUTPUTS."""

    files: list[Path]
    pixels: NDArray[np.uint8]
    targets: Floats

    @classmethod
    def read(cls, data: Path, name: str, spec: edge.InputSpec, smooth: float = 0.0) -> Part:
        """Read a part in the order of recording. smooth: standard deviation in frames of the Gauss that smooths the targets.

        A key is pressed for some tenths of a second, now or a little later: what a single frame can tell is the mean of that.
        """
        with open(data / "labels.csv", encoding="utf-8", newline="") as stream:
            rows = sorted((row for row in csv.DictReader(stream) if row["part"] == name), key=lambda row: row["file"])
        files = [_frame(data, row) for row in rows]
        targets = np.array([[float(row["steering"]), float(row["throttle"]) - float(row["brake"])] for row in rows], np.float32)
        if smooth:
            reach = np.arange(-int(3 * smooth), int(3 * smooth) + 1)
            weights = np.exp(-0.5 * (reach / smooth) ** 2)
            padded = np.pad(targets, ((reach[-1], reach[-1]), (0, 0)), mode="edge")
            targets = np.stack([np.convolve(padded[:, i], weights / weights.sum(), "valid") for i in (0, 1)], axis=1)
        return cls(files=files, pixels=np.stack([load_pixels(file, spec) for file in files]), targets=targets.astype(np.float32))

    def manifest(self, path: Path) -> Path:
        """Write the CSV manifest that edgekit reads: the frame and a column for each output."""
        with open(path, "w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", *lines.OUTPUTS])
            writer.writerows([file.resolve(), *row] for file, row in zip(self.files, self.targets.tolist(), strict=True))
        return path


def _frame(data: Path, row: dict[str, str]) -> Path:
    folders = [data / row["part"] / row.get("key", ""), data / row["part"], data]
    return next((folder / row["file"] for folder in folders if (folder / row["file"]).is_file()), folders[0] / row["file"])


def start(backbone: str, size: tuple[int, int]) -> keras.Model:
    """Return the headless network to start from."""
    if backbone in ("imagenet", "none") or backbone.endswith(".h5"):
        return lines.backbone(size, weights=None if backbone == "none" else backbone)
    trained = keras.models.load_model(backbone, compile=False)
    headless = lines.backbone(size)
    # The same layers in the same order; what stands behind the last of them is the old top.
    count = len(headless.weights)
    headless.set_weights([variable.numpy() for variable in trained.weights[:count]])
    return headless


def features(backbone: keras.Model, pixels: NDArray[np.uint8]) -> Floats:
    """Return the backbone's answer to every frame, float32 ``(n, 1536)``."""
    return np.concatenate([backbone.predict_on_batch(_scaled(chunk)) for chunk in _chunks(pixels)])


def train_heads(model: keras.Model, backbone: keras.Model, train: Part, epochs: int) -> None:
    """Train everything behind the backbone on features that are calculated once."""
    seen = keras.Input((backbone.output_shape[-1],))
    common = model.get_layer("image_dense")(keras.layers.Dropout(0.3)(seen))
    outputs = []
    for name in lines.OUTPUTS:
        found = common
        for i in range(1, len(lines.HEAD) + 1):
            found = model.get_layer(f"{name}_dense_{i}")(found)
        outputs.append(model.get_layer(name)(found))
    heads = keras.Model(seen, keras.layers.Concatenate()(outputs))
    heads.compile(keras.optimizers.AdamW(1e-4, weight_decay=1e-2), "mse")
    plain, mirrored = features(backbone, train.pixels), features(backbone, train.pixels[:, :, ::-1])
    # The last stretch of the recording says when to stop: neighbouring frames on both sides would say it too late.
    end = int(0.85 * len(plain))
    held_out = (plain[end:], train.targets[end:])
    inputs = np.concatenate([plain[:end], mirrored[:end]])
    targets = np.concatenate([train.targets[:end], train.targets[:end] * np.array([-1, 1], np.float32)])
    stop = keras.callbacks.EarlyStopping(patience=6, restore_best_weights=True)
    heads.fit(inputs, targets, batch_size=64, epochs=epochs, validation_data=held_out, callbacks=[stop], verbose=0)


def fine_tune(model: keras.Model, train: Part, test: Part, epochs: int, rate: float) -> None:
    """Train the whole network: mirrored, moved sideways and in other light, with a rate that falls to zero."""
    steps = len(train.files) // BATCH
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * steps)
    whole = keras.Model(model.inputs, keras.layers.Concatenate()([model.get_layer(name).output for name in lines.OUTPUTS]))
    whole.compile(keras.optimizers.AdamW(schedule, weight_decay=1e-4), "mse")
    rng = np.random.default_rng(0)
    for epoch in range(epochs):
        begin, losses = time.monotonic(), []
        order = rng.permutation(len(train.files))
        for step in range(steps):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            images, targets = _scaled(train.pixels[chosen]), train.targets[chosen].copy()
            mirrored = rng.random(BATCH) < 0.5
            images[mirrored], targets[mirrored, 0] = images[mirrored, :, ::-1], -targets[mirrored, 0]
            light = rng.uniform(0.7, 1.3, (BATCH, 1, 1, 1)), rng.uniform(-0.2, 0.2, (BATCH, 1, 1, 1))
            images = np.clip(images * light[0] + light[1], -1, 1).astype(np.float32)
            losses.append(float(whole.train_on_batch(images, targets)))
        scores = ", ".join(f"{name} {value:.3f}" for name, value in score(model, test).items())
        seconds = time.monotonic() - begin
        print(f"epoch {epoch + 1} of {epochs}: loss {np.mean(losses):.4f}, R2 on test: {scores} ({seconds:.0f} s)", flush=True)


def score(model: keras.Model, part: Part) -> dict[str, float]:
    """Return R2 of each output."""
    answers = [model.predict_on_batch(_scaled(chunk)) for chunk in _chunks(part.pixels)]
    found = {name: np.concatenate([answer[name][:, 0] for answer in answers]) for name in lines.OUTPUTS}
    return {name: r_squared(found[name], part.targets[:, i]) for i, name in enumerate(lines.OUTPUTS)}


def _scaled(pixels: NDArray[np.uint8]) -> Floats:
    return pixels.astype(np.float32) / 127.5 - 1.0


def _chunks(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [pixels[i : i + BATCH] for i in range(0, len(pixels), BATCH)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with labels.csv and the frames")
    parser.add_argument("--backbone", default="imagenet", help="FILE.keras, FILE.h5, imagenet or none (default: %(default)s)")
    parser.add_argument("--size", type=int, default=96, help="width and height of the input, from 75 (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=40, help="for the heads (default: %(default)s)")
    parser.add_argument("--fine-tune", type=int, default=4, help="epochs for the whole network (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=2e-4, help="learning rate of the fine-tuning (default: %(default)s)")
    parser.add_argument("--smooth", type=float, default=1.0, help="of the training targets, in frames (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="take this many frames of each part only (to try it out)")
    parser.add_argument("--out", type=Path, default=Path("bot"), help="folder for the files (default: %(default)s)")
    args = parser.parse_args()

    keras.utils.set_random_seed(0)
    spec = edge.InputSpec(width=args.size, height=args.size)
    train, test = Part.read(args.data, "train", spec, args.smooth), Part.read(args.data, "test", spec)
    if args.limit:
        train, test = (
            Part(files=p.files[: args.limit], pixels=p.pixels[: args.limit], targets=p.targets[: args.limit])
            for p in (train, test)
        )
    args.out.mkdir(parents=True, exist_ok=True)
    spread = {name: float(part.targets[:, 0].std()) for name, part in (("train", train), ("test", test))}
    print(f"{len(train.files)} frames to train on, {len(test.files)} to test on; steering's deviation {spread}", flush=True)
    backbone = start(args.backbone, (args.size, args.size))
    model = lines.line_0004((args.size, args.size), backbone=backbone)
    begin = time.monotonic()
    train_heads(model, backbone, train, args.epochs)
    print(f"heads: R2 on test: {score(model, test)} ({time.monotonic() - begin:.0f} s)", flush=True)
    fine_tune(model, train, test, args.fine_tune, args.rate)
    model.save(args.out / "bot.keras")

    source = quantize.load(args.out / "bot.keras", preprocess="inception", outputs="regression")
    photos = quantize.RepresentativeDataset.open(train.manifest(args.out / "train.csv"), source=source, count=200)
    variants = quantize.post_training_variants(source, photos, ("float32", "int8"))
    files = {artefact.variant: artefact.save(args.out) for artefact in variants}
    report = edge.validate(files["int8"], test.manifest(args.out / "test.csv"), reference=files["float32"])
    print(report.to_text())
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
