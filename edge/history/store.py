"""The history of runs: one SQLite file to which records are added. Nothing is ever changed, and taken out only by `RunStore.prune`."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from .. import files, schema
from ..errors import EdgeError, UsageError
from .record import Artefact, Run

_FILE = "runs.sqlite"
_WAIT_S = 0.3  # for a store that another process is writing to; the work itself is done and must not wait longer
_MAGIC = 0x65646765  # "edge"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL UNIQUE,
    time TEXT NOT NULL,
    command TEXT NOT NULL,
    arguments TEXT NOT NULL,
    exit_code INTEGER,
    seconds REAL,
    board TEXT,
    artefacts TEXT NOT NULL,
    dataset_sha256 TEXT,
    versions TEXT NOT NULL,
    host TEXT NOT NULL,
    summary TEXT NOT NULL,
    error TEXT,
    report TEXT
);
CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON runs BEGIN SELECT RAISE(ABORT, 'records are never changed'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON runs BEGIN SELECT RAISE(ABORT, 'records are never deleted'); END;
CREATE TRIGGER IF NOT EXISTS no_replace BEFORE INSERT ON runs
WHEN EXISTS (SELECT 1 FROM runs WHERE id = NEW.id OR digest = NEW.digest)
BEGIN SELECT RAISE(ABORT, 'records are never replaced'); END;
"""
_COLUMNS = (
    *("id", "time", "command", "arguments", "exit_code", "seconds", "board", "artefacts", "dataset_sha256"),
    *("versions", "host", "summary", "error"),
)


class StoreError(EdgeError):
    """The history cannot be read or written. Never raised while other work goes on: that gets a warning instead."""


def default_path() -> Path:
    """Return where runs are remembered: ``EDGEKIT_HOME``, else ``edgekit`` in the user's data folder (XDG)."""
    home = os.environ.get("EDGEKIT_HOME")
    if home:
        return Path(home) / _FILE
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "edgekit" / _FILE


class RunStore:
    """The store at ``path``. Opened for each operation, so that it holds no lock in between. All raise StoreError."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        try:
            self.path = default_path() if path is None else Path(path)
        except RuntimeError as error:  # no home folder
            raise StoreError(f"no place for the history of runs: {error}; name one with --store FILE") from error

    def add(self, run: Run) -> int | None:
        """Append ``run`` and return its number; None if this very record is there already.

        What JSON cannot hold (numbers that are not finite, half characters) is replaced. Raises StoreError for a record that could
        not be read again.
        """
        try:
            run = Run.from_dict(schema.plain(run.to_dict()), source=run.source)
        except ValueError as error:
            raise StoreError(f"{self.path}: not added, {error}") from error
        values = {
            "digest": _digest(run),
            "time": run.time,
            "command": run.command,
            "arguments": json.dumps(run.arguments),
            "exit_code": run.exit_code,
            "seconds": run.seconds,
            "board": run.board,
            "artefacts": json.dumps([dataclasses.asdict(artefact) for artefact in run.artefacts]),
            "dataset_sha256": run.dataset_sha256,
            "versions": json.dumps(dict(run.versions)),
            "host": json.dumps(dict(run.host)),
            "summary": run.summary,
            "error": run.error,
            "report": None if run.report is None else json.dumps(run.report),
        }
        with self._open(create=True) as connection:
            if connection.execute("SELECT 1 FROM runs WHERE digest = ?", (values["digest"],)).fetchone():
                return None
            marks = ", ".join("?" * len(values))
            added = connection.execute(f"INSERT INTO runs ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))
            return added.lastrowid

    def find(
        self,
        *,
        command: str | None = None,
        model: str | None = None,
        board: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> list[Run]:
        """Return runs without their reports, the newest last. model: a part of a file's name, or the start of a SHA-256.

        board: a part of the board's name. limit: the newest so many. A record that cannot be read is one whose ``error`` says why; it
        names no model.
        """
        where, values = ["1"], list[Any]()
        for condition, value in (
            ("command = ?", command),
            ("instr(lower(coalesce(board, '')), lower(?))", board),
            ("time >= ?", None if since is None else iso(since)),
        ):
            if value is not None:
                where.append(condition)
                values.append(value)
        query = f"SELECT {', '.join(_COLUMNS)} FROM runs WHERE {' AND '.join(where)} ORDER BY id DESC"
        if not self.path.exists():
            return []
        with self._open() as connection:
            found = []
            for row in connection.execute(query, values):
                run = _run_or_damaged(dict(zip(_COLUMNS, row, strict=True)))
                if model is None or any(_names(artefact, model) for artefact in run.artefacts):
                    found.append(run)
                if limit is not None and len(found) >= limit:
                    break
        return found[::-1]

    def get(self, number: int) -> Run:
        """Return a run with its report. Raises StoreError if there is none of that number, or it cannot be read."""
        if not self.path.exists():
            raise StoreError(f"{self.path}: no run has been recorded there yet, so there is no run {number}")
        with self._open() as connection:
            query = f"SELECT {', '.join(_COLUMNS)}, report FROM runs WHERE id = ?"
            row = connection.execute(query, (number,)).fetchone()
        if row is None:
            raise StoreError(f"{self.path}: there is no run {number}; edgekit runs lists what there is")
        *values, report = row
        try:
            return _run(dict(zip(_COLUMNS, values, strict=True)), report)
        except (ValueError, RecursionError) as error:
            raise StoreError(f"{self.path}: run {number} cannot be read ({error}); edgekit runs --prune sets it aside") from error

    def numbers(self, first: int, last: int) -> list[int]:
        """Return the numbers of the runs that are there, from ``first`` to ``last``."""
        if not self.path.exists():
            return []
        with self._open() as connection:
            return [
                number
                for (number,) in connection.execute("SELECT id FROM runs WHERE id BETWEEN ? AND ? ORDER BY id", (first, last))
            ]

    def prune(self, numbers: Sequence[int] = (), *, before: datetime | None = None) -> tuple[list[int], Path | None]:
        """Set records aside: those of these numbers, those before a moment; where neither is given, those that cannot be read.

        They are written to a file beside the history first, and only then taken out of it. Returns their numbers and that file.
        Raises StoreError, also for a number that is not there.
        """
        if not self.path.exists():
            raise StoreError(f"{self.path}: no run has been recorded there yet, so there is nothing to set aside")
        with self._open(create=True) as connection:
            connection.execute("BEGIN IMMEDIATE")
            rows = [
                dict(zip((*_COLUMNS, "report"), row, strict=True))
                for row in connection.execute(f"SELECT {', '.join(_COLUMNS)}, report FROM runs ORDER BY id")
            ]
            missing = sorted(set(numbers) - {row["id"] for row in rows})
            if missing:
                raise StoreError(f"{self.path}: there is no run {missing[0]}; edgekit runs lists what there is")
            chosen = [row for row in rows if _is_chosen(row, set(numbers), before)]
            if not chosen:
                return [], None
            place = self.path.with_name(f"{self.path.name}.pruned-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.json")
            files.atomic_write_text(place, json.dumps({"edgekit_pruned": 1, "rows": schema.plain(chosen)}, default=repr) + "\n")
            connection.execute("DROP TRIGGER IF EXISTS no_delete")
            connection.executemany("DELETE FROM runs WHERE id = ?", [(row["id"],) for row in chosen])
            for statement in _statements():
                connection.execute(statement)
        return [row["id"] for row in chosen], place

    @contextlib.contextmanager
    def _open(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            if create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            mode = "rwc" if create else "ro"
            connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_WAIT_S)
            connection.text_factory = _decoded
            try:
                with connection:  # one transaction: all of a record, or nothing
                    self._prepare(connection, create=create)
                    yield connection
            finally:
                connection.close()
        except EdgeError:
            raise
        except (sqlite3.Error, OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise StoreError(
                f"{self.path}: the history of runs cannot be used ({error}); name another with --store FILE"
            ) from error

    def _prepare(self, connection: sqlite3.Connection, *, create: bool) -> None:
        """Make the tables of a new history. Raises DatabaseError for a database of another program."""
        (magic,) = connection.execute("PRAGMA application_id").fetchone()
        if magic == _MAGIC:
            return
        if not create or connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            raise sqlite3.DatabaseError("this is the database of another program")
        for statement in _statements():
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_MAGIC}")


def iso(moment: datetime) -> str:
    """Return a moment as the store writes it: UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_since(text: str, flag: str = "--since") -> datetime:
    """Return the moment that ``--since`` (or another ``flag``) names: a date, a date and time, or an age such as ``36h`` or ``7d``."""
    units = {"h": "hours", "d": "days", "w": "weeks"}
    with contextlib.suppress(ValueError, OverflowError):
        if text[-1:] in units:
            return datetime.now(UTC) - timedelta(**{units[text[-1]]: float(text[:-1])})
        return datetime.fromisoformat(text).astimezone()
    raise UsageError(f"{flag} {text!r}: expected a date (2026-11-20), a date and time, or an age (36h, 7d, 2w)")


def _statements() -> Iterator[str]:
    statement = ""
    for line in _SCHEMA.strip().splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _digest(run: Run) -> str:
    """Tells records apart: one that was imported twice is the same record."""
    document = {**run.to_dict(), "id": None}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _names(artefact: Artefact, wanted: str) -> bool:
    name = artefact.file.replace("\\", "/").rpartition("/")[2]
    return wanted.lower() in name.lower() or (artefact.sha256 or "").startswith(wanted.lower())


def _run(row: dict[str, Any], report: str | None) -> Run:
    """Return a record of the store. Raises ValueError or RecursionError for one that is none."""
    for name in ("arguments", "artefacts", "versions", "host"):
        row[name] = _json(name, row[name])
    row["report"] = None if report is None else _json("report", report)
    return Run.from_dict(row)


def _run_or_damaged(row: dict[str, Any]) -> Run:
    kept = dict(row)
    try:
        return _run(row, None)
    except (ValueError, RecursionError) as error:
        said = f"cannot be read: {error}"
        return Run(
            id=kept["id"],
            time=str(kept["time"]),
            command=str(kept["command"]),
            arguments=(),
            exit_code=None,
            seconds=None,
            board=None,
            artefacts=(),
            dataset_sha256=None,
            versions={},
            host={},
            summary=f"{said}; edgekit runs --prune sets it aside",
            report=None,
            error=said,
        )


def _is_chosen(row: dict[str, Any], numbers: set[int], before: datetime | None) -> bool:
    if numbers or before is not None:
        return row["id"] in numbers or (before is not None and str(row["time"]) < iso(before))
    copy = dict(row)
    try:
        _run(copy, copy.pop("report"))
    except (ValueError, RecursionError):
        return True
    return False


def _json(name: str, text: Any) -> Any:
    if not isinstance(text, str):
        raise ValueError(f"{name} is {type(text).__name__}, expected JSON")
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except ValueError as error:
        raise ValueError(f"{name} is no JSON ({error})") from error


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "replace")  # a byte that is none must not take all other records along
