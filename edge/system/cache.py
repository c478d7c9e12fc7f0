"""Where edgekit keeps what it can make again. Imports nothing that takes time: a fresh process asks on the way to its first answer."""

from __future__ import annotations

import os
import stat
import sys

_DEPLOYED = "edgekit.json"  # lies where `edgekit deploy` put everything (devices/onboard/releases.py)


def folder() -> str:
    """Return ``EDGEKIT_HOME``, else ``cache`` in the folder of the deployment that runs, else ``edgekit`` in the user's cache (XDG)."""
    home = os.environ.get("EDGEKIT_HOME") or _deployed()
    return home or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "edgekit")


def _deployed() -> str | None:
    """Return where a deployment keeps such things, None if this is none or somebody else's: what undeploying removes lies there."""
    environments, _ = os.path.split(os.path.realpath(sys.prefix))  # ROOT/env/KEY
    root, name = os.path.split(environments)
    ours = name == "env" and os.path.isfile(os.path.join(root, _DEPLOYED)) and os.access(root, os.W_OK)
    return os.path.join(root, "cache") if ours else None


def own_folder(name: str) -> str | None:
    """Return the folder ``name`` in it, made where it is missing; None if there is none that its owner alone can write to."""
    place = os.path.join(folder(), name)
    try:
        status = os.lstat(place)
    except FileNotFoundError:
        try:
            os.makedirs(place, mode=0o700, exist_ok=True)
            status = os.lstat(place)
        except OSError:
            return None
    except OSError:
        return None
    if not stat.S_ISDIR(status.st_mode):
        return None
    if hasattr(os, "geteuid") and (status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        return None
    return place
