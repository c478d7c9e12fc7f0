"""Finds and reads ``edgekit.toml``: the one of the working directory, or of the nearest folder above it."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..schema import problem
from .settings import NAME, SECTIONS, SETTINGS

VARIABLE = "EDGEKIT_PROJECT"
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project file. ``values``: by the name of the setting (``model.file``); paths are relative to the working directory."""

    path: Path
    values: Mapping[str, Any]


def find(start: Path | None = None) -> Path | None:
    """Return the project file that holds in ``start`` (the working directory), None where there is none.

    ``EDGEKIT_PROJECT`` names another one; empty, it switches project files off. Above a repository's root (``.git``) or the home
    folder none is looked for: what lies there was not meant for this project.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named) if named else None
    home = _home()
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / NAME).is_file():
            return Path(os.path.relpath(folder / NAME))
        if folder == home or (folder / ".git").exists():
            return None
    return None


def _home() -> Path | None:
    """Return the home folder, None for a user who has none."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def read(path: Path) -> Project:
    """Read and check a project file. Raises UsageError with file, line, what was expected."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path}: more than 1 MiB, which no project file is; see edgekit init")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); {VARIABLE}= goes on without it") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        where = f"{path}:{line[1]}" if line else f"{path}:{text.count(chr(10)) + 1}"
        reason = str(error).partition(" (at ")[0]
        raise UsageError(f"{where}: no TOML: {reason}") from error
    except RecursionError as error:
        raise UsageError(f"{path}: nested without end; see edgekit init") from error
    return Project(path=path, values=_checked(path, text, data))


def _checked(path: Path, text: str, data: Mapping[str, Any]) -> dict[str, Any]:
    known = {setting.name: setting for setting in SETTINGS}
    values: dict[str, Any] = {}
    for section, entries in data.items():
        where = f"{path}:{_line(text, section)}"
        if section not in SECTIONS:
            raise UsageError(f"{where}: no section is called {section!r}{_meant(section, SECTIONS)}")
        if not isinstance(entries, Mapping):
            raise UsageError(f"{where}: {section} is a section; write [{section}] and its settings below")
        for key, value in entries.items():
            where = f"{path}:{_line(text, section, key)}"
            setting = known.get(f"{section}.{key}")
            if setting is None:
                keys = [each.key for each in SETTINGS if each.section == section]
                raise UsageError(f"{where}: [{section}] has no setting {key!r}{_meant(key, keys)}")
            wrong = problem(value, setting.schema, setting.name)
            if wrong is not None:
                raise UsageError(f"{where}: {wrong}, such as {setting.example}")
            if any(
                not text or not text.isprintable()
                for text in (value if isinstance(value, list) else [value])
                if isinstance(text, str)
            ):
                raise UsageError(f"{where}: {setting.name} is {value!r}, expected text such as {setting.example}")
            values[setting.name] = _from_here(path, value) if setting.is_path else value
    return values


def _from_here(path: Path, value: str) -> str:
    """Return a path that stands in the file as it is called from the working directory."""
    given = Path(os.path.expanduser(value))  # of a user without a home it stays as it is
    return str(given) if given.is_absolute() else os.path.relpath(path.parent.absolute() / given)


def _meant(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"


def _line(text: str, section: str, key: str | None = None) -> int:
    """Return the line of a section or setting, 1 for one that is written in an unusual way."""
    inside = found = 0
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*[\"']?([^\"'\]\s.]+)", line)
        if header:
            inside = number if header[1] == section else 0
            found = found or inside
        name = re.match(r"\s*[\"']?([^\"'=\s]+)[\"']?\s*=", line)
        if name and ((inside and name[1] == key) or name[1].split(".") == [section, *([key] if key else [])]):
            return number
        if name and not found and name[1].split(".")[0] == section:
            found = number
    return found or 1
