"""``edgekit watch FILE SOURCE``: what a model says about images, videos and cameras, drawn onto the frames."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from ..errors import DatasetError
from . import model_flags, output_flags, source_flags

if TYPE_CHECKING:
    from ..live.frame_output import Output
    from ..live.watch import Seen
    from ..live.window import Window

_EXAMPLES = """\
examples:
  edgekit watch flowers.int8.tflite 0                                  the first camera
  edgekit watch flowers.int8.tflite garden.mp4 --output answered.mp4
  edgekit watch flowers.int8.tflite photos/ --output answered/ --top 3
  edgekit watch flowers.int8.tflite photos/ --fps 10 --seconds 60      a rehearsal for a camera
  edgekit watch flowers.int8.tflite rtsp://10.0.0.7/stream --seconds 60 --json seen.json

Ctrl-C ends it (exit code 130), and so does SIGTERM (exit code 0, as systemctl stop expects), both with the video complete and the
report written. Videos and cameras need the extra: pip install 'edgekit[video]'
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "watch",
        help="say what is on frames of a video or camera, and draw it",
        description="Say what is on every frame of images, a video or a camera, and draw it onto the frame.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a .tflite")
    parser.add_argument("source", metavar="SOURCE", help=source_flags.SOURCE_HELP)
    parser.add_argument(
        "--output",
        metavar="PATH",
        help="write the drawn frames to a video (.mp4, .mkv, .avi), a folder, or an image for one image",
    )
    parser.add_argument("--top", type=source_flags.count, default=1, metavar="K", help="how many classes to show (default 1)")
    parser.add_argument("--read", metavar="NAME", help="the output to read, where the model has several with classes")
    source_flags.add_fps(parser)
    source_flags.add_reconnect(parser)
    parser.add_argument("--frames", type=source_flags.count, metavar="N", help="end after N answers")
    parser.add_argument("--seconds", type=source_flags.positive, metavar="S", help="end after S seconds")
    parser.add_argument("--headless", action="store_true", help="open no window (what happens without a display anyway)")
    parser.add_argument("--summary", action="store_true", help="print the summary only, no line per frame")
    model_flags.add_runtime(parser)
    model_flags.add_foreign(parser)
    output_flags.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Watch, and report. Ctrl-C is how one ends a camera (exit code 130), SIGTERM how a service is stopped (0); both with the report."""
    from ..interrupt import termination_interrupts
    from ..live.frame_output import open_output
    from ..live.frames import open_source
    from ..live.watch import watch

    source = open_source(args.source, fps=args.fps, reconnect_s=args.reconnect)
    output = None if args.output is None else open_output(args.output, source)
    model = model_flags.load(args)
    screen = _Screen(args, output)
    with termination_interrupts():
        try:
            report = watch(
                model,
                source,
                screen.show,
                top=args.top,
                output=args.read,
                drawing=screen.draws,
                frames=args.frames,
                seconds=args.seconds,
            )
        finally:
            screen.close()
    head = {"file": args.file, "model_sha256": model.container.model_sha256, "runtime": model.runtime.to_dict()}
    output_flags.emit(args, {**head, "output": args.output, **report.to_dict()}, report.to_text())
    if report.error:
        print(f"edgekit: error: {report.error}", file=sys.stderr)
        return DatasetError.exit_code
    return 130 if report.interrupted and not report.terminated else 0


class _Screen:
    """Where each answer goes: a line of text, the window if there is one, the output if one was asked for."""

    def __init__(self, args: argparse.Namespace, output: Output | None) -> None:
        self._lines = not args.summary and args.json != "-"
        self._output = output
        self._window = None if args.headless else _window(args.source)

    @property
    def draws(self) -> bool:
        return self._output is not None or self._window is not None

    def show(self, seen: Seen) -> bool:
        """Pass an answer on; False once the user has closed the window."""
        if seen.drawn is not None and self._output is not None:
            self._output.write(seen.frame, seen.drawn)
        if self._lines or "error" in seen.answer:
            # Flushed, so that whoever reads along sees a camera's answers when they are given; after the frame was written.
            print(_line(seen), file=sys.stderr if "error" in seen.answer else sys.stdout, flush=True)
        return seen.drawn is None or self._window is None or self._window.show(seen.drawn)

    def close(self) -> None:
        if self._output is not None:
            self._output.close()
        if self._window is not None:
            self._window.close()


def _line(seen: Seen) -> str:
    name = seen.frame.name or f"frame {seen.frame.index}"
    if "error" in seen.answer:
        return f"edgekit: {seen.answer['error']}"
    return f"{name}  {'  '.join(seen.lines)}  {seen.answer['latency_ms']:.1f} ms"


def _window(title: str) -> Window | None:
    from ..live.window import Window, has_display

    if not has_display():
        return None
    try:
        return Window(f"edgekit watch {title}")
    except (ImportError, RuntimeError) as error:
        print(f"edgekit: no window ({error}); --headless leaves this message out", file=sys.stderr)
        return None
