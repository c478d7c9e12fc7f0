"""Teach InceptionResNetV2 your own classes, starting from ImageNet weights, and ship it as a validated int8 file.

    python examples/transfer_learning.py photos/ --out flowers/

PHOTOS has two folders, train and test, each with one folder of photos per class. ``--weights imagenet`` downloads Keras'
weights once; with ``--weights inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5`` (or any file of the headless
network) nothing is downloaded, and ``--weights none`` starts from random ones.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras  # after the environment, which it reads when it is imported

import edge
import quantize
from edge import preprocess


class Photos(keras.utils.PyDataset):
    """Batches of ``(images float32 (n, H, W, 3), class numbers (n,))``, preprocessed exactly as the deployed model will do it."""

    def __init__(self, folder: Path, labels: list[str], spec: edge.InputSpec, batch: int = 16) -> None:
        super().__init__()
        files = [(path, number) for number, label in enumerate(labels) for path in sorted((folder / label).iterdir())]
        order = np.random.default_rng(0).permutation(len(files))
        self.files = [files[index] for index in order]
        self.classes = np.array([number for _, number in self.files])
        self.spec, self.batch = spec, batch

    def __len__(self) -> int:
        return -(-len(self.files) // self.batch)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = slice(index * self.batch, (index + 1) * self.batch)
        return np.concatenate([preprocess(path, self.spec) for path, _ in self.files[chosen]]), self.classes[chosen]


def build(weights: str, spec: edge.InputSpec, classes: int) -> tuple[keras.Model, keras.Model, keras.Model]:
    """Return the whole model, the headless backbone that is one layer of it, and the head that is the rest."""
    backbone = keras.applications.InceptionResNetV2(
        include_top=False,
        weights=None if weights == "none" else weights,
        input_shape=(spec.height, spec.width, 3),
        pooling="avg",
    )
    head = [keras.layers.Dropout(0.2), keras.layers.Dense(classes, activation="softmax", name="classes")]
    inputs = keras.Input((spec.height, spec.width, 3))
    # training=False: batch normalization keeps ImageNet's statistics, also while the convolutions are fine-tuned.
    outputs = backbone(inputs, training=False)
    for layer in head:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs), backbone, keras.Sequential(head)


def train_head(head: keras.Model, backbone: keras.Model, photos: Photos, test: Photos, epochs: int) -> None:
    """Train the head alone. The backbone answers each photo once: frozen, it would say the same in every epoch."""
    parts = [(backbone.predict(part, verbose=2), part.classes) for part in (photos, test)]
    head.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    head.fit(*parts[0], batch_size=photos.batch, validation_data=parts[1], epochs=epochs, verbose=2)


def fine_tune(model: keras.Model, photos: Photos, test: Photos, epochs: int) -> None:
    """Train everything, with small steps."""
    model.compile(keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(photos, validation_data=test, epochs=epochs, verbose=2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder with train/CLASS/* and test/CLASS/*")
    parser.add_argument("--weights", default="imagenet", help="imagenet, none, or a weights file of the headless network")
    parser.add_argument("--size", type=int, default=299, help="input width and height in pixels, from 75 (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="epochs for the head (default: %(default)s)")
    parser.add_argument("--fine-tune", type=int, default=2, help="epochs for the whole network (default: %(default)s)")
    parser.add_argument("--max-drop", type=float, default=0.01, help="what int8 may cost, as a fraction (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("transfer"), help="folder for the files (default: %(default)s)")
    args = parser.parse_args()
    if args.weights not in ("imagenet", "none") and not Path(args.weights).is_file():
        parser.error(
            f"--weights {args.weights}: no such file, expected imagenet, none, or a weights file of the headless network"
        )

    labels = sorted(folder.name for folder in (args.photos / "train").iterdir() if folder.is_dir())
    spec = edge.InputSpec(width=args.size, height=args.size)
    model, backbone, head = build(args.weights, spec, len(labels))
    photos, test = (Photos(args.photos / part, labels, spec) for part in ("train", "test"))
    if args.epochs:
        train_head(head, backbone, photos, test, args.epochs)
    if args.fine_tune:
        fine_tune(model, photos, test, args.fine_tune)
    args.out.mkdir(parents=True, exist_ok=True)
    model.save(args.out / "model.keras")

    source = quantize.load(args.out / "model.keras", preprocess="inception", labels=labels)
    calibration = quantize.RepresentativeDataset.from_folder(args.photos / "train", count=200, contract=source.contract)
    variants = quantize.post_training_variants(source, calibration, ("float32", "int8"))
    files = {artefact.variant: artefact.save(args.out) for artefact in variants}
    report = edge.validate(files["int8"], args.photos / "test", reference=files["float32"], max_drop=args.max_drop)
    print(report.to_text())
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
