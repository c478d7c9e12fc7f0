"""Where edgekit keeps what it can make again. Imports nothing that takes time: a fresh process asks on the way to its first answer."""

from __future__ import annotations

import os


def folder() -> str:
    """Return ``EDGEKIT_HOME``, else ``edgekit`` in the user's cache folder (XDG)."""
    home = os.environ.get("EDGEKIT_HOME")
    return home or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "edgekit")
