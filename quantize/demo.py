"""The whole job on data that comes with a dependency: train, quantize, validate, recommend. No download.

scikit-learn's digits are real: 1,797 handwritten digits, 8 x 8 pixels, the test set of UCI's Optical Recognition of Handwritten
Digits (Alpaydin and Kaynak, 1998).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import edge
from edge.artefact.contract import InputSpec
from edge.bench.latency import benchmark
from edge.files import atomic_write_text
from edge.predict import check_report
from edge.progress import Progress, stage
from edge.report import gathering, page, sources
from edge.runtime.preprocess import preprocess

from .calibrate.representative import RepresentativeDataset
from .loading.load import load
from .ptq import post_training_variants
from .reference import reference_outputs

INPUT = InputSpec(width=75, height=75)
TEST_IMAGES = 797  # enough that no flip at all proves a drop below 0.5 points; see edge.numbers.statistics
# No interpreter has fast kernels for 16-bit activations (0.3 s an image here, where int8 takes 0.01): half of the digits must do.
FEWER_IMAGES = {"int16x8": 400}
BOARDS = ("pi-4b", "pi-5", "coral-dev-board")  # whose speed is predicted
EPOCHS = 6
BATCH = 32


def digits_dataset(folder: Path, *, seed: int = 0) -> None:
    """Write the digits as 8 x 8 PNG files: ``folder/train/CLASS/NNNN.png`` (1,000) and ``folder/test/CLASS/NNNN.png`` (797).

    Writes nothing where both folders are complete already.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    # The files come in runs by writer: a seeded shuffle gives both parts the same writers, as a user's own split would.
    order = np.random.default_rng(seed).permutation(len(digits.images))
    for rank, index in enumerate(order):
        part = "test" if rank < TEST_IMAGES else "train"
        target = folder / part / str(digits.target[index]) / f"{index:04d}.png"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.round(digits.images[index] * (255 / 16)).astype(np.uint8)
            Image.fromarray(pixels).save(target)


def photographs() -> list[np.ndarray]:
    """Return the two photographs that come with scikit-learn, uint8 (height, width, 3) RGB: a palace and a flower."""
    from sklearn.datasets import load_sample_images

    return list(load_sample_images().images)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Digits:
    """A labelled part in memory: ``tensors`` float32 ``(count, 75, 75, 3)``, ``labels`` int64 ``(count,)``."""

    tensors: np.ndarray
    labels: np.ndarray

    @classmethod
    def load(cls, folder: Path) -> Digits:
        files = sorted(folder.glob("*/*.png"))
        return cls(
            tensors=np.concatenate([preprocess(file, INPUT) for file in files]),
            labels=np.array([int(file.parent.name) for file in files]),
        )

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = rng.permutation(len(self.labels))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            yield self.tensors[chosen], self.labels[chosen]


def train(images: Path, out: Path, *, epochs: int = EPOCHS, seed: int = 0) -> float:
    """Train an InceptionResNetV2 (75 x 75, 10 classes) on ``images/train`` and write it to ``out`` (``.keras``).

    Returns top-1 (0..1) on ``images/test``, which the training never sees.
    """
    from .quiet import import_keras, quiet

    keras = import_keras()
    keras.utils.set_random_seed(seed)
    train_part, test_part = Digits.load(images / "train"), Digits.load(images / "test")
    with stage("build InceptionResNetV2 (54.3 M parameters)"), quiet():
        model = _network(keras)
    rng = np.random.default_rng(seed)
    steps = len(train_part.labels) // BATCH
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, epochs * steps)
    model.compile(optimizer=keras.optimizers.Adam(schedule), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    for epoch in range(epochs):
        with quiet(), Progress(steps, f"train: epoch {epoch + 1} of {epochs}") as progress:
            for tensors, labels in train_part.batches(rng):
                model.train_on_batch(tensors, labels)
                progress.advance()
    with stage("measure it on the held-out digits"), quiet():
        answers = np.concatenate([model.predict_on_batch(chunk) for chunk in np.array_split(test_part.tensors, 16)])
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.stem}.partial.keras")  # Keras picks the format by suffix
    model.save(partial, include_optimizer=False)  # nobody trains it on; a third of the size
    partial.replace(out)
    return float(np.mean(answers.argmax(axis=1) == test_part.labels))


def _network(keras: Any) -> Any:
    model = keras.applications.InceptionResNetV2(weights=None, classes=10, input_shape=(INPUT.height, INPUT.width, 3))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Keras' 0.99 needs hundreds of steps before the moving statistics mean anything; this run has 186.
            layer.momentum = 0.9
    return model


def compare(out: Path, trained: Path, *, max_drop: float) -> list[dict[str, Any]]:
    """Make every variant of ``trained`` in ``out``, validate each against the Keras network, time it. One row of data each."""
    source = load(trained, preprocess="inception", labels=[str(digit) for digit in range(10)])
    photos = RepresentativeDataset.open(out / "photos" / "train", source=source, validation=out / "photos" / "test")
    files = {artefact.variant: artefact.save(out) for artefact in post_training_variants(source, photos)}
    test = out / "photos" / "test"
    # What the Keras network answers is stored once: each variant is compared with the network itself, and it runs only once.
    keras_answers = reference_outputs(source, test, out / "digits.reference.npz")
    rows = []
    for variant, file in files.items():
        report = edge.validate(
            file,
            test,
            reference=keras_answers.path,
            max_drop=max_drop,
            limit=FEWER_IMAGES.get(variant),
            progress=sys.stderr,
        ).to_dict()
        measured = benchmark(
            file, min_runs=20, min_seconds=3.0
        )  # of the slow variant a hundred would take longer than all others
        latency = measured.latency
        _keep(out, f"validate.{variant}", report)
        _keep(out, f"benchmark.{variant}", measured.to_dict())
        for board in BOARDS:
            _keep(out, f"check.{board}.{variant}", check_report.to_dict(edge.check(file, board)))
        rows.append(
            {
                "variant": variant,
                "file": str(file),
                "bytes": file.stat().st_size,
                "images": report["images"],
                "top1": report["candidate"]["top1"],
                "drop": report["drop"],
                "agreement": report["agreement"],
                "verdict": report["verdict"],
                "p50_ms": latency.p50_ms,
            }
        )
    return rows


def write_page(out: Path) -> Path:
    """Write ``out/report.html`` from what `compare` left in ``out/runs``. Raises MissingExtraError without the ``[report]`` extra."""
    runs, left_out = sources.read_place(str(out / "runs"))
    place = out / "report.html"
    atomic_write_text(place, page.render(gathering.gather(runs, left_out)))
    return place


def _keep(out: Path, name: str, report: dict[str, Any]) -> None:
    atomic_write_text(out / "runs" / f"{name}.json", json.dumps(report, indent=1, allow_nan=False) + "\n")


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text. The drop is against the Keras network; ratios are to the float32 file, the first row."""
    titles = (
        "variant",
        "MiB",
        "x smaller",
        "images",
        "top-1",
        "drop in points (95 % interval)",
        "ms/image",
        "x faster",
        "verdict",
    )
    lines = [_line(titles)]
    for row in rows:
        low, high = (100 * bound for bound in row["drop"]["ci95"])
        smaller, faster = _gains(row, rows[0])
        cells = (
            row["variant"],
            f"{row['bytes'] / 2**20:.1f}",
            f"{smaller:.2f}",
            str(row["images"]),
            f"{row['top1']:.1%}",
            f"{100 * row['drop']['top1']:+.2f} ({low:+.2f} to {high:+.2f})",
            f"{row['p50_ms']:.1f}",
            f"{faster:.2f}",
            row["verdict"],
        )
        lines.append(_line(cells))
    return "\n".join(lines)


def recommend(rows: list[dict[str, Any]], *, max_drop: float) -> str:
    """One sentence: what to deploy. Only what is proven to lose at most ``max_drop`` counts.

    Full int8 goes first, since it is what boards run best and all that an Edge TPU takes; then what is fastest here.
    """
    float32 = rows[0]
    passed = [row for row in rows[1:] if row["verdict"] == "pass"]
    if not passed:
        return f"Deploy {float32['file']}: no smaller variant is proven to lose at most {100 * max_drop:g} points."
    best = min(passed, key=lambda row: (row["variant"] != "int8", float(row["p50_ms"])))
    smaller, faster = _gains(best, float32)
    return (
        f"Deploy {best['file']}: {smaller:.1f} times smaller and {faster:.1f} times as fast as float32 on this machine, and with"
        f" 95 % confidence it loses at most {100 * best['drop']['ci95'][1]:.2f} points of top-1."
    )


def _line(cells: Sequence[str]) -> str:
    widths = (-9, 7, 10, 7, 7, 31, 9, 9, 10)  # negative: to the left
    padded = (cell.ljust(-width) if width < 0 else cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return " ".join(padded)


def _gains(row: dict[str, Any], float32: dict[str, Any]) -> tuple[float, float]:
    return float32["bytes"] / row["bytes"], float32["p50_ms"] / row["p50_ms"]
