"""How long after a picture does the driver answer it? What `train.py --reaction` and `--smooth` should be for a recording.

    python examples/driving/reaction.py DATA

A support vector machine on gradient histograms and coarse colours of single frames learns the steering of so many frames later, and
is scored on stretches of the training part that it has not seen. Takes some minutes for 2,000 frames; the test part is not touched.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import recording  # the files beside this one
import steps
from parts import Floats
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

import edge
from edge import load_pixels
from edge.numbers.metrics import r_squared

HEIGHT, WIDTH = 80, 160
CELL, DIRECTIONS = 8, 9  # pixels; of the gradients
REACTIONS = range(7)  # frames
SMOOTHINGS = (0.0, 1.0, 2.0, 3.0)  # frames


def features(pixels: Floats) -> Floats:
    """Return what is seen in frames ``(n, HEIGHT, WIDTH, 3)``: per cell a histogram of gradient directions, and the mean colour."""
    grey = pixels.mean(axis=-1)
    along_x, along_y = np.gradient(grey, axis=2), np.gradient(grey, axis=1)
    strength = np.hypot(along_x, along_y)
    direction = (np.arctan2(along_y, along_x) % np.pi / np.pi * DIRECTIONS).astype(int) % DIRECTIONS
    cells = (len(pixels), HEIGHT // CELL, CELL, WIDTH // CELL, CELL)
    sums = [np.where(direction == k, strength, 0).reshape(cells).sum(axis=(2, 4)) for k in range(DIRECTIONS)]
    histograms = np.sqrt(np.stack(sums, axis=-1))
    histograms /= np.linalg.norm(histograms, axis=-1, keepdims=True) + 5
    colours = pixels.reshape(*cells, 3).mean(axis=(2, 4)) / 64
    return np.concatenate([histograms, colours], axis=-1).reshape(len(pixels), -1).astype(np.float32)


def explained(seen: Floats, mirrored: Floats, targets: Floats) -> float:
    """Return R2 on the stretches held out."""
    fitted, held = steps.split(len(targets), 0.2)
    scaler = StandardScaler().fit(seen[fitted])
    machine = SVR(C=0.3, epsilon=0.03, gamma=0.5 / seen.shape[1])
    machine.fit(
        np.concatenate([scaler.transform(seen[fitted]), scaler.transform(mirrored[fitted])]),
        np.concatenate([targets[fitted], -targets[fitted]]),
    )
    return r_squared(machine.predict(scaler.transform(seen[held])), targets[held])


def main() -> int:
    """Print R2 by reaction and smoothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with labels.csv and the frames")
    parser.add_argument("--smooth", type=float, nargs="*", default=SMOOTHINGS, metavar="FRAMES", help="(default: 0 1 2 3)")
    args = parser.parse_args()
    spec = edge.InputSpec(width=WIDTH, height=HEIGHT, fit="stretch")
    runs = recording.read(args.data, "train")
    rows = [row for run in runs for row in run]
    pixels = np.stack([load_pixels(row["path"], spec) for row in rows]).astype(np.float32)
    seen, mirrored = features(pixels), features(pixels[:, :, ::-1])
    print("R2 of steering on held-out frames, by frames of reaction (down) and of smoothing (across)")
    print(" " * 4 + "".join(f"{smooth:>8g}" for smooth in args.smooth))
    for reaction in REACTIONS:
        print(f"{reaction:4}", end="", flush=True)
        for smooth in args.smooth:
            answers = [answer for run in runs for answer in recording.answered(run, "steering", reaction, smooth)]
            known = np.flatnonzero([answer is not None for answer in answers])
            targets = np.array([answers[i] for i in known], np.float32)
            print(f"{explained(seen[known], mirrored[known], targets):8.3f}", end="", flush=True)
        print()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except edge.EdgeError as error:
        print(f"reaction.py: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
