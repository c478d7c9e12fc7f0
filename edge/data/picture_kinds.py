"""Which kinds of pictures are read here: more where the extra ``heif`` is installed. What is not read is named with its reason."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from devices.manifests import (
    AVIF_SUFFIXES,
    HEIF_SUFFIXES,
    MAGIC_BYTES,
    OTHER_PICTURES,
    SUFFIXES,
    begins_like_a_picture,
    is_nameless,
    suffix,
)

PICTURES = SUFFIXES | HEIF_SUFFIXES | AVIF_SUFFIXES | OTHER_PICTURES
"""Everything that is a picture, read or not."""

EXTRA = "pip install 'edgekit[heif]'"


@cache
def readable() -> frozenset[str]:
    """Return the suffixes of pictures that can be read here, in small letters, with the dot."""
    heif = HEIF_SUFFIXES if importlib.util.find_spec("pillow_heif") else frozenset()
    avif = AVIF_SUFFIXES if importlib.util.find_spec("PIL._avif") else frozenset()  # in Pillow's wheels from 11.3 on
    return SUFFIXES | heif | avif


def is_nameless_picture(path: Path) -> bool:
    """Return whether a file is a picture that its name does not tell (``IMG_1``, ``1.jpg_large``): its first bytes do."""
    if not is_nameless(path.name) or not path.is_file():  # a pipe would wait for ever
        return False
    try:
        with path.open("rb") as stream:
            return begins_like_a_picture(stream.read(MAGIC_BYTES))
    except OSError:
        return False  # a file of somebody else's: no picture that could be read


def advice(names: Sequence[str]) -> str:
    """Return what to do about pictures that are not read."""
    kinds = {suffix(name) for name in names}
    with_extra = sorted(kinds & (HEIF_SUFFIXES | AVIF_SUFFIXES))
    install = f"{', '.join(with_extra)} are read after {EXTRA}" if with_extra else ""
    nameless = kinds - PICTURES
    rename = "let the names of those that are pictures by their content end in their kind, such as .jpg" if nameless else ""
    convert = "convert them to JPEG or PNG" if kinds - set(with_extra) - nameless else ""
    return "; ".join(filter(None, (install, convert, rename)))
