"""From a trained Keras model to a validated int8 file, in Python.

    python examples/quickstart.py flowers.keras photos/train photos/test

MODEL is a .keras or .h5 file or a SavedModel; TRAIN and TEST hold one folder of photos per class.
"""

from __future__ import annotations

import sys
from pathlib import Path

import edge
import quantize


def main(model: str, train: str, test: str) -> int:
    labels = sorted(folder.name for folder in Path(train).iterdir() if folder.is_dir())
    source = quantize.load(model, preprocess="inception", labels=labels)
    photos = quantize.RepresentativeDataset.from_folder(train, count=200, contract=source.contract)
    variants = quantize.post_training_variants(source, photos, ("float32", "int8"))
    float32, int8 = (artefact.save(Path.cwd()) for artefact in variants)

    deployed = edge.load(int8)
    photo = next(Path(test).glob("*/*"))
    for answer in deployed.classify(photo).top(3):
        print(f"{photo}: {answer.label} {answer.score:.3f}")

    report = edge.validate(deployed, test, reference=edge.load(float32), max_drop=0.01)
    print(report.to_text())
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
