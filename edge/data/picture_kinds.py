"""Which kinds of pictures are read here: more where the extra ``heif`` is installed. What is not read is named with its reason."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache

from devices.manifests import AVIF_SUFFIXES, HEIF_SUFFIXES, OTHER_PICTURES, SUFFIXES, suffix

PICTURES = SUFFIXES | HEIF_SUFFIXES | AVIF_SUFFIXES | OTHER_PICTURES
"""Everything that is a picture, read or not."""

EXTRA = "pip install 'edgekit[heif]'"


@cache
def readable() -> frozenset[str]:
    """Return the suffixes of pictures that can be read here, in small letters, with the dot."""
    heif = HEIF_SUFFIXES if importlib.util.find_spec("pillow_heif") else frozenset()
    avif = AVIF_SUFFIXES if importlib.util.find_spec("PIL._avif") else frozenset()  # in Pillow's wheels from 11.3 on
    return SUFFIXES | heif | avif


def advice(names: Sequence[str]) -> str:
    """Return what to do about pictures that are not read."""
    kinds = {suffix(name) for name in names}
    with_extra = sorted(kinds & (HEIF_SUFFIXES | AVIF_SUFFIXES))
    install = f"{', '.join(with_extra)} are read after {EXTRA}" if with_extra else ""
    convert = "convert them to JPEG or PNG" if kinds - set(with_extra) else ""
    return "; ".join(filter(None, (install, convert)))
