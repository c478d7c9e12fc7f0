"""Where the user's own boards are described: ``--boards-file``, else ``boards.toml`` in edgekit's folder."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import BoardFileError
from .own_boards import FILE_NAME, parse
from .records import BoardProfile

SHOWN_PLACE = "boards.toml in EDGEKIT_HOME or ~/.config/edgekit"


def default_place() -> Path:
    """Return ``EDGEKIT_HOME/boards.toml``, else ``edgekit/boards.toml`` in the user's configuration folder."""
    home = os.environ.get("EDGEKIT_HOME")
    if home:
        return Path(home) / FILE_NAME
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "edgekit" / FILE_NAME


def read(path: str | None = None) -> tuple[BoardProfile, ...]:
    """Return the boards in a file; without one those of the default place, none if there is no such file. Raises BoardFileError."""
    place = default_place() if path is None else Path(path)
    try:
        text = place.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):  # the second where EDGEKIT_HOME is a file
        if path is None:
            return ()
        raise BoardFileError(f"{place}: no such file of boards") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BoardFileError(f"{place}: cannot be read ({error})") from error
    return parse(text, where=str(place))
