"""Does validation stay small: peak memory over a million images and ten thousand classes, and the time that ranking takes?

    python benchmarks/validation_scale.py [--real 20000] [--counts 100000 1000000] [--classes 10000] [--folder DIR]

Makes a network of one dense layer that knows each class by its pattern, and a float32 and an int8 file of it. Then runs ``edgekit
validate`` in processes of their own, int8 against float32, report, history of runs and JSON included, and takes the peak of their
resident memory as the kernel counted it:

* over ``--real`` pictures of 4 x 4 pixels in class folders, noisy enough that some answers are wrong, one of them damaged;
* over each of ``--counts`` files with synthetic answers: the interpreters are opened, but what they and the decoder would give is drawn
  from a thousand answers that the class scorer measured, so that a million take minutes. All else is the code that anybody runs.

Ranking is timed on one core: ``edge.runtime.classify.rank`` and its first five classes. Appends what it found to
``benchmarks/results/validation_scale.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from record import append

if TYPE_CHECKING:
    from edge.data.dataset import ImageItem, LabelledImages

SIDE = 4
NOISE = 80.0
LIMIT_MIB, LIMIT_MS = 600, 1.0
_BMP = struct.pack("<2sIHHI", b"BM", 54 + 3 * SIDE * SIDE, 0, 0, 54)
_BMP += struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, 3 * SIDE * SIDE, 2835, 2835, 0, 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=int, default=20_000, help="pictures that the networks answer (default 20000)")
    parser.add_argument("--counts", type=int, nargs="+", default=[100_000, 1_000_000], help="synthetic (default 100000 1000000)")
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where the pictures are made and removed again (default: the system's)")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--synthetic", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    patterns = np.random.default_rng(1).choice([-1.0, 1.0], (args.classes, SIDE, SIDE, 3)).astype(np.float32)
    if args.make is not None:
        _models(args.make, patterns)
        return 0
    if args.synthetic is not None:
        return _with_synthetic_answers(args.synthetic)
    if min(args.real, *args.counts) < 2 * args.classes:
        parser.error(f"--real, --counts: at least {2 * args.classes}, two pictures a class")
    runs = []
    with tempfile.TemporaryDirectory(prefix="edgekit-", dir=args.folder) as name:
        folder = Path(name)
        # TensorFlow in a process of its own: a process starts with the peak of the one that it comes from.
        subprocess.run([sys.executable, __file__, "--make", name, "--classes", str(args.classes)], check=True)
        for count, real in ((args.real, True), *((count, False) for count in args.counts)):
            photos = folder / f"photos{count}"
            if real:
                _pictures(photos, patterns, count)
                (photos / "class 00001" / "00001.bmp").write_bytes(b"BM, and no picture")
            else:
                _empty(photos, args.classes, count)
            runs.append(_validated(folder, photos, real=real))
            print(json.dumps(runs[-1]), flush=True)
    figures = {
        "classes": args.classes,
        "runs": runs,
        "rank_ms": _ranking(args.classes),
        "limits": {"peak_mib": LIMIT_MIB, "rank_ms": LIMIT_MS},
    }
    figures["kept"] = max(run["peak_mib"] for run in runs) <= LIMIT_MIB and figures["rank_ms"]["rank and five"] <= LIMIT_MS
    print(json.dumps(figures["rank_ms"]))
    print(append("validation_scale", figures))
    return 0 if figures["kept"] else 1


def _models(folder: Path, patterns: NDArray[np.float32]) -> None:
    import quantize
    from quantize.quiet import import_keras, quiet

    classes = len(patterns)
    with quiet():
        keras = import_keras()
        inputs = keras.Input((SIDE, SIDE, 3), name="picture")
        dense = keras.layers.Dense(classes, activation="softmax", name="kind")
        network = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
        dense.set_weights([1.5 * patterns.reshape(classes, -1).T, np.zeros(classes, np.float32)])
        network.save(folder / "network.keras")
    _pictures(folder / "some", patterns[:50], 200)
    labels = [f"class {i:05}" for i in range(classes)]
    source = quantize.load(folder / "network.keras", preprocess="inception", labels=labels)
    photos = quantize.RepresentativeDataset.from_folder(folder / "some", count=200, contract=source.contract)
    for artefact in quantize.post_training_variants(source, photos, ("float32", "int8")):
        (folder / f"{artefact.variant}.tflite").write_bytes(artefact.data)


def _pictures(folder: Path, patterns: NDArray[np.float32], count: int) -> None:
    """Write ``count`` pictures in a folder per class; no two are alike."""
    rng, classes = np.random.default_rng(count), len(patterns)
    for number, pattern in enumerate(patterns):
        place = folder / f"class {number:05}"
        place.mkdir(parents=True)
        images = count // classes + (number < count % classes)
        pixels = np.clip(128 + 60 * pattern + rng.normal(0, NOISE, (images, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        for i, picture in enumerate(pixels):
            (place / f"{i:05}.bmp").write_bytes(_BMP + picture[::-1, :, ::-1].tobytes())


def _empty(folder: Path, classes: int, count: int) -> None:
    """Make as many files without content in a folder per class."""
    for number in range(classes):
        place = folder / f"class {number:05}"
        place.mkdir(parents=True)
        for i in range(count // classes + (number < count % classes)):
            os.mknod(place / f"{i:05}.bmp", 0o600)


def _with_synthetic_answers(argv: Sequence[str]) -> int:
    """Run the command with answers drawn from a thousand that were measured: as often right, and as often changed, as real ones."""
    from edge import cli
    from edge.validation import paired
    from edge.validation import run as validation_run
    from edge.validation.class_scores import ClassScorer

    class Synthetic(paired.Comparison):
        def __init__(self, *args: Any, dataset: LabelledImages, **named: Any) -> None:
            super().__init__(*args, dataset=dataset, **named)
            rng, scorer = np.random.default_rng(3), self.outputs[0].scorer
            assert isinstance(scorer, ClassScorer)
            self._measured = np.zeros(1000, scorer.dtype)
            for i in range(len(self._measured)):
                values = rng.dirichlet(np.full(scorer.size, 0.01)).astype(np.float32)
                self._measured[i] = scorer.measure(values, values + rng.normal(0, 1e-4, values.size).astype(np.float32))

        def records(self, items: Sequence[ImageItem]) -> NDArray[Any]:
            records = np.zeros(len(items), self.dtype)
            for record, item in zip(records, items, strict=True):
                sha256 = hashlib.sha256(item.id.encode()).digest()
                record["sha256"] = np.frombuffer(sha256, np.uint8)
                lot = int.from_bytes(sha256[:4], "little")
                record["output0"] = self._measured[lot % 1000]
                for side, chance in (("reference", lot % 5), ("candidate", (lot % 5) * (lot % 101))):
                    if chance:  # right, but for a fifth of the images, and of the candidate for one of a hundred more or less
                        record["output0"][side]["top"][0] = item.label
            records["status"][[item.id == "class 00001/00001.bmp" for item in items]] = paired.UNREADABLE
            return records

    setattr(validation_run, "Comparison", Synthetic)  # noqa: B010
    return cli.main(argv)


def _validated(folder: Path, photos: Path, *, real: bool) -> dict[str, Any]:
    report = folder / "report.json"
    files = [str(folder / f"{variant}.tflite") for variant in ("int8", "float32")]
    way = ["-m", "edge"] if real else [__file__, "--synthetic"]
    command = [sys.executable, *way, "validate", files[0], "--images", str(photos), "--reference", files[1]]
    began = time.monotonic()
    # A home of its own: no journal or history of other runs, and none left behind.
    environment = {**os.environ, "EDGEKIT_HOME": str(folder / "home")}
    process = subprocess.Popen(
        [*command, "--max-drop", "0.01", "--diagnose", "never", "--json", str(report)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    if process.returncode not in (0, 1):
        raise SystemExit(f"edgekit validate ended with {process.returncode}")
    found = json.loads(report.read_text())
    return {
        "answers": "real" if real else "synthetic",
        "images": found["images"],
        "unreadable": len(found["unreadable"]),
        "top1": round(found["candidate"]["top1"], 4),
        "changed": found["outputs"]["kind"]["changed"],
        "verdict": found["verdict"],
        "report_mib": round(report.stat().st_size / 2**20, 1),
        "peak_mib": usage.ru_maxrss // 1024,
        "seconds": round(seconds),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime),
    }


def _ranking(classes: int) -> dict[str, float]:
    """Return the median milliseconds of ranking one answer, of what NumPy needs to find the five best, and of a full sort."""
    from edge.artefact.contract import OutputSpec
    from edge.runtime.classify import rank

    spec = OutputSpec(name="kind", kind="probabilities", labels=tuple(f"class {i:05}" for i in range(classes)))
    answers = np.random.default_rng(2).random((200, classes), np.float32)
    ways: dict[str, Callable[[NDArray[np.float32]], Any]] = {
        "rank and five": lambda values: rank(values, spec).top(5),
        "argpartition": lambda values: np.argpartition(-values, 5)[:5],
        "sort": lambda values: np.argsort(-values, kind="stable"),
    }
    result = {}
    for name, way in ways.items():
        times = []
        for values in answers:
            began = time.perf_counter()
            way(values)
            times.append(1000 * (time.perf_counter() - began))
        result[name] = round(statistics.median(times), 4)
    return result


if __name__ == "__main__":
    sys.exit(main())
