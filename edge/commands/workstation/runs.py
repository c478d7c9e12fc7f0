"""``edgekit runs``: what has been run, with what, and what came out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .. import output_flags

if TYPE_CHECKING:
    from ...history.record import Run
    from ...history.store import RunStore

_DESCRIPTION = """\
List the history of runs, show one, or compare two. Every quantize, qat, explain, tune, shrink, validate, benchmark, selftest, check and
deploy adds a record: when, what of, with which versions, where, and its whole JSON. Nothing recorded is ever changed.

--import takes what edgekit wrote and nothing else: what is malformed is left out and named. A record of the history that cannot be
read is listed as such and stands in nobody's way; --prune sets all of those aside, or the runs with the given numbers, or with
--before those before a date. They go into a JSON file beside the history, whose name is printed; delete it when you need it no more.

The history is one file: --store FILE, else runs.sqlite in EDGEKIT_HOME, else in ~/.local/share/edgekit (XDG_DATA_HOME).
A command remembers nothing with --store none, and neither does python -m edge (as it runs on boards) without --store.
"""

_EPILOG = """\
examples:
  edgekit runs                                              the last 20
  edgekit runs --command validate --model flowers --since 7d
  edgekit runs 12                                           everything about one
  edgekit runs 12 --json run.json                           as a file, which edgekit report reads
  edgekit runs 12 15                                        what differs
  edgekit runs --import results/                            take in JSON files of earlier runs, or of another machine
  edgekit runs --prune                                      set records aside that cannot be read
  edgekit runs --prune --before 2026-01-01                  the old ones
  edgekit runs 12 15 --prune                                these
"""
_MOST_DIFFERENCES = 60


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "runs",
        help="the history of runs: list, filter, show, compare, import, prune",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ids", metavar="ID", nargs="*", type=int, help="one run to show, or two to compare")
    parser.add_argument("--command", metavar="NAME", help="only runs of this command")
    parser.add_argument("--model", metavar="TEXT", help="only runs with such a file name, or a SHA-256 that starts so")
    parser.add_argument("--board", metavar="TEXT", help="only runs on, or about, such a board")
    parser.add_argument("--since", metavar="WHEN", help="only runs since a date, or not older than 36h, 7d, 2w")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="the newest N (default %(default)s); 0 for all")
    parser.add_argument("--import", dest="folder", metavar="DIR|FILE", help="add the JSON files in a folder, or one")
    parser.add_argument("--prune", action="store_true", help="set records aside: the given ones, else those that cannot be read")
    parser.add_argument("--before", metavar="WHEN", help="with --prune: those before a date, or older than 36h, 7d, 2w")
    parser.add_argument("--store", metavar="FILE", help="the history (default: see above)")
    output_flags.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List, show, compare, import or prune."""
    from ...errors import UsageError
    from ...history.store import RunStore

    store = RunStore(args.store)
    if args.before is not None and not args.prune:
        raise UsageError("--before belongs to --prune; to list the runs since a date, use --since")
    if args.prune and args.folder is not None:
        raise UsageError("--import and --prune are two things; do one after the other")
    if args.prune:
        return _prune(args, store)
    if args.folder is not None:
        return _import(args, store)
    if len(args.ids) == 1:
        found = store.get(args.ids[0])
        output_flags.emit(args, found.to_dict(), "\n".join(_details(found)))
    elif len(args.ids) == 2:
        _compare(args, store)
    elif args.ids:
        raise UsageError(f"{len(args.ids)} runs given, expected one to show or two to compare; edgekit report takes many")
    else:
        _list(args, store)
    return 0


def _list(args: argparse.Namespace, store: RunStore) -> None:
    from ...history.store import parse_since

    runs = store.find(
        command=args.command,
        model=args.model,
        board=args.board,
        since=None if args.since is None else parse_since(args.since),
        limit=args.limit or None,
    )
    if not runs:
        text = f"{store.path}: no such run" if store.path.exists() else f"{store.path}: nothing has been recorded yet"
    else:
        text = "\n".join(_table(runs))
    documents = [{key: value for key, value in entry.to_dict().items() if key != "report"} for entry in runs]
    output_flags.emit(args, {"store": str(store.path), "runs": documents}, text)


def _table(runs: list[Run]) -> Iterator[str]:
    rows = [("id", "when (UTC)", "command", "model", "where", "code", "result")]
    for entry in runs:
        names = dict.fromkeys(_name(artefact.file) for artefact in entry.artefacts if artefact.role != "reference")
        first, *more = [*names] or ["-"]
        rows.append(
            (
                str(entry.id),
                entry.time[:16].replace("T", " "),
                entry.command,
                first + (f" +{len(more)}" if more else ""),
                _where(entry),
                "-" if entry.exit_code is None else str(entry.exit_code),
                entry.summary,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    yield from ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _where(entry: Run) -> str:
    from ...history.record import origin_of

    return str(origin_of(entry)) if entry.board is not None or entry.command == "check" else "here"


def _details(found: Run) -> Iterator[str]:
    yield f"run {found.id}: {found.command}{'' if found.board is None else f' ({found.board})'}, {found.summary}"
    took = "" if found.seconds is None else f", took {found.seconds:.1f} s"
    code = "" if found.exit_code is None else f", exit code {found.exit_code}"
    yield f"  when      {found.time}{took}{code}"
    if found.arguments:
        import shlex

        yield f"  command   edgekit {shlex.join(found.arguments)}"
    if found.error:
        yield f"  error     {found.error}"
    for artefact in found.artefacts:
        yield f"  {artefact.role:9} {artefact.file}  {(artefact.sha256 or 'unknown')[:16]}"
    if found.dataset_sha256:
        yield f"  images    {found.dataset_sha256[:16]}"
    yield f"  versions  {', '.join(f'{name} {version}' for name, version in found.versions.items())}"
    if found.host:
        yield f"  host      {', '.join(f'{key} {value}' for key, value in found.host.items())}"
    yield "the whole answer: --json FILE; as a page: edgekit report"


def _compare(args: argparse.Namespace, store: RunStore) -> None:
    from ...history.record import origin_of

    before, after = (store.get(number) for number in args.ids)
    origins = origin_of(before), origin_of(after)
    # Two boards are there to be compared. A time of an emulation, or one that is predicted, is no time of a machine's.
    alike = (origins[0].emulated, origins[0].how) == (origins[1].emulated, origins[1].how)
    sides = [dict(_leaves(entry.to_dict())) for entry in (before, after)]
    differing = {
        key: (sides[0].get(key), sides[1].get(key))
        for key in dict.fromkeys((*sides[0], *sides[1]))
        if sides[0].get(key) != sides[1].get(key) and key != "id"
    }
    lines = [
        f"{run.label}: {run.command}, {run.summary} ({origin})" for run, origin in zip((before, after), origins, strict=True)
    ]
    if not alike:
        lines.append("  of different provenance: what differs is listed, and no change is calculated from it")
    lines.append("")
    width = max((len(key) for key in differing), default=0)
    for key, (left, right) in list(differing.items())[:_MOST_DIFFERENCES]:
        lines.append(f"  {key:{width}}  {_value(left)} -> {_value(right)}{_change(left, right) if alike else ''}")
    if len(differing) > _MOST_DIFFERENCES:
        lines.append(f"  and {len(differing) - _MOST_DIFFERENCES} more (--json has them all)")
    if not differing:
        lines.append("  nothing differs")
    report = {
        "before": before.id,
        "after": after.id,
        "origins": [origin.to_dict() for origin in origins],
        "differences": {key: list(pair) for key, pair in differing.items()},
    }
    output_flags.emit(args, report, "\n".join(lines))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the single values in plain data, each with its path; of a list only those of short ones, by the names in it."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        if len(value) > 12:
            yield f"{path} (how many)", len(value)
            return
        for index, item in enumerate(value):
            name = item.get("name") or item.get("label") or index if isinstance(item, Mapping) else index
            yield from _leaves(item, f"{path}[{name}]")
    else:
        yield path, value


def _import(args: argparse.Namespace, store: RunStore) -> int:
    from ...errors import UsageError
    from ...report import sources

    added, known = [], 0
    runs, skipped = sources.read_place(args.folder)
    for entry in sorted(runs, key=lambda entry: entry.time):
        number = store.add(entry)
        if number is None:
            known += 1
        else:
            added.append(number)
    for reason in skipped:
        print(f"left out: {reason}", file=sys.stderr)
    text = f"{len(added)} runs added to {store.path}, {known} were there already"
    output_flags.emit(args, {"added": added, "known": known, "left_out": list(skipped)}, text)
    if not runs:
        raise UsageError(f"{args.folder}: no run of a command in there; name JSON files that edgekit wrote with --json")
    return 0


def _prune(args: argparse.Namespace, store: RunStore) -> int:
    from ...history.store import parse_since

    pruned, place = store.prune(args.ids, before=None if args.before is None else parse_since(args.before, "--before"))
    many = "1 run" if len(pruned) == 1 else f"{len(pruned)} runs"
    text = f"{store.path}: nothing to set aside" if place is None else f"{many} set aside from {store.path} into {place}"
    output_flags.emit(args, {"pruned": pruned, "kept_in": None if place is None else str(place)}, text)
    return 0


def _name(file: str) -> str:
    return file.replace("\\", "/").rpartition("/")[2] or "-"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    text = str(value)
    return text if len(text) <= 48 else text[:45] + "..."


def _change(before: Any, after: Any) -> str:
    if isinstance(before, bool) or isinstance(after, bool):
        return ""
    if not isinstance(before, int | float) or not isinstance(after, int | float):
        return ""
    share = f", x{after / before:.3g}" if before > 0 and after > 0 else ""
    return f"  ({after - before:+.5g}{share})"
