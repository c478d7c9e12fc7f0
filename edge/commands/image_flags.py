"""``--follow-links``: shared by the commands that read folders of images."""

from __future__ import annotations

import argparse


def add_follow_links(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--follow-links``."""
    parser.add_argument("--follow-links", action="store_true", help="accept symbolic links that lead out of the folder of images")
