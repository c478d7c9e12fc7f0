"""What SOURCE may be, and how it is played: shared by the commands that work on frames."""

from __future__ import annotations

import argparse

MOST_STREAMS = 256  # one machine decodes and answers far fewer
SOURCE_HELP = "an image, a folder of images, a video file, or a camera: 0, /dev/video0, rtsp://..., http://..."


def add_fps(parser: argparse.ArgumentParser) -> None:
    """Add ``--fps``."""
    parser.add_argument(
        "--fps",
        type=float,
        metavar="N",
        help="play files at N frames a second, as a camera would: what comes while the model is busy is dropped",
    )


def add_reconnect(parser: argparse.ArgumentParser) -> None:
    """Add ``--reconnect``."""
    parser.add_argument(
        "--reconnect",
        type=not_negative,
        metavar="S",
        help="look for a camera that has gone for S seconds, with growing pauses (default 60; 0: end at once)",
    )


def not_negative(text: str) -> float:
    """Return a number from zero on, for argparse."""
    value = float(text)
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is below zero")
    return value


def positive(text: str) -> float:
    """Return a number above zero, for argparse."""
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def streams(text: str) -> int:
    """Return a number of streams, each of which takes an interpreter and a thread, for argparse."""
    if (value := count(text)) > MOST_STREAMS:
        raise argparse.ArgumentTypeError(f"{text} is more than {MOST_STREAMS}")
    return value


def count(text: str) -> int:
    """Return a whole number above zero, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value
