"""Whether there are any pictures where they are said to be, without reading all of a large folder or a long list."""

from __future__ import annotations

import os
from pathlib import Path

from devices.manifests import hidden, suffix

from . import picture_kinds
from .dataset import LabelledImages

_SHORT_LIST = 1 << 20  # bytes of a manifest that is read at once: some ten thousand rows


def check_pictures(path: str | os.PathLike[str], *, follow_links: bool = False) -> None:
    """Raise the DatasetError of `LabelledImages.open` where a folder or manifest is missing, without pictures, or something else.

    A folder is looked through up to its first picture only, and a long manifest not at all: what else is wrong is told later.
    """
    root = Path(path)
    if root.is_dir():
        if _has_picture(root):
            return
    elif root.is_file() and root.suffix.lower() in (".csv", ".txt") and root.stat().st_size > _SHORT_LIST:
        return
    LabelledImages.open(root, unlabelled=True, follow_links=follow_links)


def _has_picture(root: Path) -> bool:
    readable = picture_kinds.readable()
    for _, folders, files in os.walk(root):  # a link may lead anywhere: `LabelledImages.open` knows which are followed
        folders[:] = [name for name in folders if not hidden(name)]
        if any(not name.startswith(".") and suffix(name) in readable for name in files):
            return True
    return False
