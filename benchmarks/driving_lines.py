"""Take every model line of the driving bot, Xception and RegNet through quantize, runtime, validate and check; random weights.

    python benchmarks/driving_lines.py ../shared/data/driving --size 75

Random weights say nothing about driving: what is recorded is whether each line passes, how large it is, which ops it becomes and
how far int8 moves its answers from float32. The recurrent lines are made twice, with the LSTM in int8 and kept in float.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "driving"))

import keras
import lines
import record
import recording

import edge
import quantize
from edge.predict import check as checking
from edge.runtime import golden
from quantize.ptq import PtqConfig

Builder = Callable[[tuple[int, int]], keras.Model]


def builders() -> Iterator[tuple[str, Builder]]:
    """Yield each line with what builds it, and the backbones of other generations with the heads of line 0004."""
    yield from lines.LINES.items()
    yield "0008 (auxiliary heads)", lambda size: lines.line_0008(size, auxiliary=True)
    yield "0008 (5 LSTM)", lambda size: lines.line_0008(size, branch=five_lstm())
    yield "0009", lambda size: lines.line_0009(size, image_model=lines.line_0004(size), history_model=lines.line_0008(size))
    yield "Xception", lambda size: lines.line_0004(size, backbone=xception(size))
    yield "RegNetX002", regnet


def five_lstm() -> keras.Model:
    return lines.history_branch(values=lines.HISTORY_VALUES, dense=(256, 128), lstm=(64, 64, 64, 64, 64))


def xception(size: tuple[int, int]) -> keras.Model:
    return keras.applications.Xception(include_top=False, weights=None, input_shape=(*size, 3), pooling="avg", name="backbone")


def regnet(size: tuple[int, int]) -> Any:
    """RegNet with a head; Keras 3 has it no more, so it comes from Keras 2. It rescales 0..255 by itself."""
    import tf_keras

    network = tf_keras.applications.RegNetX002(include_top=False, weights=None, input_shape=(*size, 3), pooling="avg")
    head = tf_keras.layers.Dense(64, activation="relu")(network.output)
    return tf_keras.Model(network.input, tf_keras.layers.Dense(1, name="steering")(head))


def measure(name: str, model: keras.Model, data: Path, count: int, folder: Path) -> list[dict[str, Any]]:
    """Return one row of figures for each int8 file that is made of ``model``."""
    picture = next((tensor for tensor in model.inputs if len(tensor.shape) == 4), None)
    frames = 0 if picture is None else int(picture.shape[-1]) // 3
    shapes = recording.shapes_of(model)
    source = quantize.load(
        model,
        name="line",
        preprocess=None if picture is None else "raw" if name.startswith("RegNet") else "inception",
        outputs="regression",
        inputs=recording.inputs_of(model),
    )
    parameters = int(model.count_params())
    train = recording.manifest(data, "train", folder / "train.csv", frames=frames, inputs=shapes, limit=count)
    test = recording.manifest(data, "test", folder / "test.csv", frames=frames, inputs=shapes, limit=count)
    photos = quantize.RepresentativeDataset.open(train, source=source, count=count, strict=False)
    rows = []
    float32 = None
    # The search for ranges takes minutes for each network and is not what is measured here.
    for keep in ((), ("lstm",)) if any("LSTM" in note for note in source.notes) else ((),):
        config = PtqConfig(ranges="converter", keep_float=keep)
        wanted = ("int8",) if float32 else ("float32", "int8")
        begin = time.monotonic()
        for artefact in quantize.post_training_variants(source, photos, wanted, config=config):
            file = artefact.save(folder)
            if artefact.variant == "float32":
                float32 = file
        seconds = time.monotonic() - begin
        assert float32 is not None
        report = edge.validate(file, test, reference=float32, workers=1, resume=False).to_dict()
        fit = checking.check(file, "pi-4b")
        rows.append(
            {
                "line": name,
                "parameters": parameters,
                "published": lines.PUBLISHED.get(name),
                "kept_in_float": list(keep),
                "float32_bytes": float32.stat().st_size,
                "int8_bytes": file.stat().st_size,
                "ops": artefact.ops,
                "float_ops": artefact.float_ops,
                "quantize_s": round(seconds, 1),
                "selftest": {
                    variant: golden.replay(edge.load(path)).passed for variant, path in (("float32", float32), ("int8", file))
                },
                "mean_difference": {out: found["difference"]["mean_absolute"] for out, found in report["outputs"].items()},
                "fits_pi_4b": fit.fits,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with labels.csv and frames")
    parser.add_argument("--size", type=int, default=75)
    parser.add_argument("--count", type=int, default=16, help="rows to calibrate on, and to validate on (default: %(default)s)")
    parser.add_argument("--lines", nargs="*", help="only these")
    parser.add_argument("--print-only", action="store_true", help="do not add the figures to benchmarks/results")
    args = parser.parse_args()
    rows = []
    for name, build in builders():
        if args.lines and name not in args.lines:
            continue
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            rows += measure(name, build((args.size, args.size)), args.data, args.count, Path(folder))
        gc.collect()
    if not args.print_only:
        record.append("driving_lines", {"size": args.size, "rows": args.count, "lines": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
