"""``edgekit boards``: the table of known boards, or everything known about one."""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from ..boards import board_files
from ..boards.other_accelerators import OTHER_ACCELERATORS
from ..boards.profiles import ACCELERATORS, BOARDS, find, system
from ..boards.records import (
    AcceleratorProfile,
    BoardProfile,
    CpuCluster,
    Fact,
    OtherAccelerator,
    SystemProfile,
    ThermalLimit,
    Wheel,
)
from .output_flags import add_json, write_json

_EXAMPLES = """\
examples:
  edgekit boards                           all boards and accelerators in one table
  edgekit boards pi-4b                     everything known about one, each fact with its source
  edgekit boards pi-4b --json -            the same for a program
  edgekit boards --boards-file my.toml     with your own boards among them
"""

_LABELS = {
    "soc": "SoC",
    "cpu": "CPU",
    "dot_product": "int8 dot product",
    "fp16_arithmetic": "fp16 arithmetic",
    "memory_mib": "memory (MiB)",
    "memcpy_mb_s": "memcpy (MB/s)",
    "memset_mb_s": "memset (MB/s)",
    "clocks_mhz": "clocks (MHz)",
    "usb": "USB",
    "pcie": "PCIe",
    "edgetpu": "Edge TPU",
    "health": "health is read from",
    "systems": "operating systems",
    "device_tree": "known by the names",
    "used_by": "what can use it",
}


def add_parser(subparsers: Any) -> None:
    """Add ``boards`` to the root command."""
    parser = subparsers.add_parser(
        "boards",
        help="list the known boards, or everything known about one",
        description="What is known about boards and Edge TPU accelerators: each fact with its source, verified, derived, or"
        " from memory where no source could be opened. An unknown fact is shown as unknown, never as a guess.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a board or accelerator, for example pi-4b or coral-usb")
    parser.add_argument("--boards-file", metavar="FILE", help=f"your own boards, in TOML (default: {board_files.SHOWN_PLACE})")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table or one profile. Raises UnknownProfileError for a name that does not exist."""
    own = board_files.read(args.boards_file)
    if args.name is None:
        text = table(own)
        data: dict[str, Any] = {
            "boards": [dataclasses.asdict(profile) for profile in (*BOARDS, *own)],
            "accelerators": [dataclasses.asdict(profile) for profile in ACCELERATORS],
            "other_accelerators": [dataclasses.asdict(profile) for profile in OTHER_ACCELERATORS],
        }
    else:
        profile = find(args.name, own)
        text = details(profile)
        data = dataclasses.asdict(profile)
        if isinstance(profile, BoardProfile):
            data["systems_known"] = [dataclasses.asdict(known) for known in _systems(profile)]
    if args.json is not None:  # before anything is printed: this takes no time, and can be called again
        write_json(args.json, data)
    if args.json != "-":
        print(text)
    return 0


def table(own: Sequence[BoardProfile] = ()) -> str:
    """Return all boards as one table, the user's own last, then the accelerators."""
    rows = [("board", "SoC", "cores", "dot", "memory", "USB", "runs edgekit on")]
    for board in (*BOARDS, *own):
        rows.append(
            (
                board.name,
                _value(board.soc),
                " + ".join(_cluster(cluster) for cluster in board.cpu.value) if board.cpu else "unknown",
                _value(board.dot_product),
                _memory(board.memory_mib),
                _generation(board),
                _runs_on(board),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += ["", "accelerators (a host board carries them)"]
    lines += [f"{item.name.ljust(widths[0])}  {item.title}, {item.link.value}" for item in ACCELERATORS]
    lines += ["", "recognised by edgekit doctor, and not used by edgekit"]
    lines += [f"{item.name.ljust(widths[0])}  {item.title}" for item in OTHER_ACCELERATORS]
    usable: tuple[BoardProfile | AcceleratorProfile, ...] = (*BOARDS, *own, *ACCELERATORS)
    ended = [item.name for item in usable if item.end_of_life is not None]
    lines += ["", *textwrap.wrap(f"end of life: {', '.join(ended)}", 118, subsequent_indent="  ", break_on_hyphens=False)]
    lines += ["dot: int8 dot-product instructions; *: from memory, no source for it was opened"]
    lines += ["everything about one, with sources: edgekit boards NAME"]
    return "\n".join(lines)


def details(profile: BoardProfile | AcceleratorProfile | OtherAccelerator) -> str:
    """Return everything known about one profile, each fact followed by its source."""
    lines = [f"{profile.name}: {profile.title}"]
    if isinstance(profile, BoardProfile) and profile.unreachable:
        lines += ["", f"not reachable: {profile.unreachable}"]
    lines.append("")
    for field in dataclasses.fields(profile):
        value = getattr(profile, field.name)
        if field.name in ("name", "title", "unreachable"):
            continue
        label = _LABELS.get(field.name, field.name.replace("_", " "))
        lines += _fact_lines(label, value)
    if isinstance(profile, BoardProfile):
        for known in _systems(profile):
            lines += ["", *_system_lines(known)]
    return "\n".join(lines)


def _fact_lines(label: str, fact: Fact[Any] | None) -> Iterator[str]:
    values = fact.value if fact is not None and isinstance(fact.value, tuple) and fact.value else (fact,)
    for index, value in enumerate(values):
        yield f"{label + ':' if index == 0 else '':22}{_value(value) if value is fact else _text(value)}"
    if fact is not None:
        indent = " " * 24
        yield from textwrap.wrap(
            _origin(fact),
            118,
            initial_indent=indent,
            subsequent_indent=indent + "  ",
            break_long_words=False,
            break_on_hyphens=False,
        )


def _systems(board: BoardProfile) -> Iterator[SystemProfile]:
    return (system(name) for name in (board.systems.value if board.systems else ()))


def _system_lines(known: SystemProfile) -> Iterator[str]:
    verdict = "runs edgekit" if known.runs_edgekit else "cannot run edgekit (needs Python 3.11 or later)"
    yield f"{known.name}: {known.title}, {verdict}"
    yield f"  Python {known.python.value} ({_origin(known.python)})"
    yield f"  glibc {known.glibc.value} ({_origin(known.glibc)})"
    for wheel in known.wheels.value:
        yield f"  {_text(wheel)}"
    yield f"    {_origin(known.wheels)}"


def _origin(fact: Fact[Any]) -> str:
    """Return where a fact is from: ``verified: its source (checked 2026-11-30)``."""
    basis = "from memory, no source opened" if fact.basis == "unopened" else fact.basis
    return f"{basis}: {fact.source}" + (f" (checked {fact.checked})" if fact.checked else "")


def _runs_on(board: BoardProfile) -> str:
    if board.unreachable:
        return "no: a microcontroller" if "microcontroller" in board.unreachable else "no"
    if board.systems is None:
        return "unknown"
    return ", ".join(known.name for known in _systems(board) if known.runs_edgekit) or "no: Python below 3.11"


def _generation(board: BoardProfile) -> str:
    if board.usb is None:
        return "unknown"
    return ("3" if "3.0" in board.usb.value else "2") + ("*" if board.usb.basis == "unopened" else "")


def _cluster(cluster: CpuCluster) -> str:
    clock = f" {cluster.clock_mhz / 1000:g} GHz" if cluster.clock_mhz else ""
    return f"{cluster.count}x {cluster.core.removeprefix('Cortex-')}{clock}"


def _memory(sizes: Fact[tuple[int, ...]] | None) -> str:
    if sizes is None:
        return "unknown"
    if sizes.value[-1] < 1024:
        return "/".join(str(size) for size in sizes.value) + " MiB"
    return "/".join(f"{size / 1024:g}" for size in sizes.value) + " GiB"


def _value(fact: Fact[Any] | None) -> str:
    return "unknown" if fact is None else _text(fact.value)


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, CpuCluster):
        boost = f", up to {value.boost_mhz} MHz on some revisions" if value.boost_mhz else ""
        return f"{value.count} x {value.core} at {value.clock_mhz or 'unknown'} MHz{boost}"
    if isinstance(value, ThermalLimit):
        return f"{value.celsius:g} °C: {value.effect}"
    if isinstance(value, Wheel):
        return (
            f"{value.package} {value.first} to {value.last} ({value.arch})"
            if value.first != value.last
            else (f"{value.package} {value.first} ({value.arch})")
        )
    if isinstance(value, tuple):
        return "; ".join(_text(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
