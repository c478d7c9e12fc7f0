"""The age of the frame behind each command of the drive loop, at camera rates, and what becomes of the other frames.

    python benchmarks/drive_loop.py bot.int8.tflite --frames driving/test [--fps 10 20] [--seconds 30]

MODEL may be any artefact: without regression outputs its first output's values are the command. The frames of the folder are played
at each rate. A last run has a model that stalls twice for twice the deadline, to see what the watchdog does.
Appends to ``benchmarks/results/drive_loop.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from record import append

import edge
from edge.live.drive import Command, drive
from edge.live.frame import Frame
from edge.live.frame_model import Predict, pictures_of, predictor, warm_up, window_of
from edge.live.frames import open_source

DEADLINE_S = 0.5
STALLS_AT = (40, 120)  # answers before which the stalling model waits


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--frames", type=Path, required=True)
    parser.add_argument("--fps", type=float, nargs="+", default=[10.0, 20.0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    model = edge.load(args.model, threads=args.threads)
    predict = answers(model)
    runs = [{"fps": fps, **driven(model, predict, args.frames, fps, args.seconds)} for fps in args.fps]
    stalling = {"fps": args.fps[-1], **driven(model, stalls(predict), args.frames, args.fps[-1], args.seconds)}
    figures = {
        "model": args.model.name,
        "runtime": model.runtime.to_dict(),
        "deadline_ms": DEADLINE_S * 1e3,
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "runs": runs,
        "stalling": stalling,
    }
    append("drive_loop", json.loads(json.dumps(figures), parse_float=lambda text: round(float(text), 2)))
    return 0


def driven(model: edge.Model, predict: Predict, folder: Path, fps: float, seconds: float) -> dict[str, Any]:
    given: list[Command] = []
    report = drive(
        open_source(folder, fps=fps),
        predict,
        given.append,
        safe=dict.fromkeys(predict(open_window(folder, window_of(model.contract))), 0.0),
        deadline_s=DEADLINE_S,
        window=window_of(model.contract),
        seconds=seconds,
    )
    print(f"{fps:g} frames a second\n{report.to_text()}")
    found = report.to_dict()
    return {key: value for key, value in found.items() if key not in ("source", "deadline_ms")}


def open_window(folder: Path, size: int) -> tuple[Frame, ...]:
    first = next(frame for frame in open_source(folder) if frame.pixels is not None)
    return (first,) * size


def answers(model: edge.Model) -> Predict:
    if any(spec.kind == "regression" for spec in model.contract.outputs):
        return predictor(model)
    warm_up(model)
    name = model.contract.outputs[0].name

    def predict(frames: Sequence[Frame]) -> Mapping[str, float]:
        values = model.predict(pictures_of(model.contract, frames))[name].reshape(-1)
        return {f"{name}[{i}]": float(value) for i, value in enumerate(values)}

    return predict


def stalls(predict: Predict) -> Predict:
    """Return ``predict`` with a stall of twice the deadline before some answers."""
    count = 0

    def stalling(frames: Sequence[Frame]) -> Mapping[str, float]:
        nonlocal count
        count += 1
        if count in STALLS_AT:
            time.sleep(2 * DEADLINE_S)
        return predict(frames)

    return stalling


if __name__ == "__main__":
    raise SystemExit(main())
