"""Drive: from the newest camera frame to a command, with a watchdog that gives a safe command when anything stalls.

    python examples/driving/drive.py bot.int8.tflite 0 --safe acceleration=-0.3 --limit steering=-1:1
    python examples/driving/drive.py bot.int8.tflite recorded/ --fps 20 --csv commands.csv      a rehearsal

MODEL has regression outputs (steering, acceleration, ...). SOURCE is a camera (0, /dev/video0, rtsp://...), or a folder or video
that is played at --fps. Put what moves your vehicle into `send`; the rest may stay as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import edge
from edge import Command, History, drive, open_source, predictor, window_of
from edge.files import atomic_write_text
from edge.interrupt import termination_interrupts
from edge.live.drive import CsvCommands, Send
from edge.live.frame_model import grey_frames


def main() -> int:
    args = arguments()
    source = open_source(args.source, fps=args.fps)
    if not source.live:
        raise edge.UsageError(f"{args.source}: how fast is it to be played? Give --fps")
    model = edge.load(args.model, threads=args.threads)
    extra, remember = history_inputs(model)
    predict = predictor(model, extra=extra)
    names = tuple(predict(grey_frames(model.contract)))
    for name in {*dict(args.safe), *dict(args.limit)} - set(names):
        raise edge.UsageError(f"{name}: the model gives {', '.join(names)}")
    safe = dict.fromkeys(names, 0.0) | dict(args.safe)
    with ExitStack() as stack:
        send: Send = print_command if args.csv is None else stack.enter_context(CsvCommands(args.csv, names))

        def give(command: Command) -> None:
            send(command)
            remember(command.values)

        stack.enter_context(termination_interrupts())
        report = drive(
            source,
            predict,
            give,
            safe=safe,
            deadline_s=args.deadline_ms / 1e3,
            max_age_s=None if args.max_age_ms is None else args.max_age_ms / 1e3,
            window=window_of(model.contract),
            limits=dict(args.limit),
            seconds=args.seconds,
        )
    print(report.to_text())
    if args.json is not None:
        found = {"model": Path(args.model).name, "runtime": model.runtime.to_dict(), **report.to_dict()}
        atomic_write_text(args.json, json.dumps(found, indent=1) + "\n")
    return 0


def print_command(command: Command) -> None:
    values = "  ".join(f"{name} {value:+.3f}" for name, value in command.values.items())
    print(f"{values}  safe: {command.reason}" if command.reason else f"{values}  {command.age_ms:.0f} ms old", flush=True)


def history_inputs(model: edge.Model) -> tuple[Callable[[], Mapping[str, Any]] | None, Callable[[Mapping[str, float]], None]]:
    """Return what the model takes beside the picture, and who remembers each command for that.

    Inputs called past_NAME get the last values of the output NAME. The others get zeros: read your sensors here instead.
    """
    extras = model.contract.extra_inputs
    outputs = {spec.name for spec in model.contract.outputs}
    past = {e.name: e.name.removeprefix("past_") for e in extras if e.name.removeprefix("past_") in outputs}
    for e in extras:
        if e.name not in past:
            print(f"no sensor for {e.name} ({e.meaning or 'no meaning given'}): it gets zeros", file=sys.stderr)
    histories = {e.name: History(e.shape[0], [past[e.name]]) for e in extras if e.name in past}

    def extra() -> Mapping[str, Any]:
        return {e.name: histories[e.name][past[e.name]] if e.name in past else np.zeros(e.shape) for e in extras}

    def remember(values: Mapping[str, float]) -> None:
        for history in histories.values():
            history.add(values)

    return extra if extras else None, remember


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("--fps", type=float, help="play a folder or video at so many frames a second")
    parser.add_argument(
        "--safe", type=pair, action="append", default=[], metavar="NAME=VALUE", help="safe value (default 0 for all)"
    )
    parser.add_argument("--limit", type=limit, action="append", default=[], metavar="NAME=LOW:HIGH", help="hold a value within")
    parser.add_argument("--deadline-ms", type=float, default=500.0, help="safe command after so long without a fresh one")
    parser.add_argument("--max-age-ms", type=float, help="give no command on an older frame (default: the deadline)")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seconds", type=float, help="end after so long")
    parser.add_argument("--csv", metavar="FILE", help="write the commands there instead of printing them")
    parser.add_argument("--json", metavar="FILE", help="write the report there too")
    return parser.parse_args()


def pair(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    return name, float(value)


def limit(text: str) -> tuple[str, tuple[float, float]]:
    name, _, ends = text.partition("=")
    low, _, high = ends.partition(":")
    return name, (float(low), float(high))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except edge.EdgeError as error:
        sys.exit(f"drive.py: error: {error}")
