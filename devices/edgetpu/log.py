"""Reads what ``edgetpu_compiler`` prints and what it writes into its ``*_edgetpu.log``, of every version from 1.0 to 16.0."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .ops import MAPPED, STATUSES

_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = r"([\d.]+) ?(B|KiB|MiB|GiB)\b"
_VERSION = re.compile(r"Edge TPU Compiler version (\d+(?:\.\d+)+)")
_SIZES = {
    "input_bytes": re.compile(rf"Input size: {_SIZE}"),
    "output_bytes": re.compile(rf"Output size: {_SIZE}"),
    "on_chip_used_bytes": re.compile(rf"On-chip memory used for caching model parameters: {_SIZE}"),
    "on_chip_remaining_bytes": re.compile(rf"On-chip memory remaining for caching model parameters: {_SIZE}"),
    # Until version 2.0.291: the room before anything is cached.
    "on_chip_available_bytes": re.compile(rf"On-chip memory available for caching model parameters: {_SIZE}"),
    "off_chip_bytes": re.compile(rf"Off-chip memory used for streaming uncached model parameters: {_SIZE}"),
}
_COUNTS = {
    "subgraphs": re.compile(r"Number of Edge TPU subgraphs: (\d+)"),
    "total_ops": re.compile(r"Total number of operations: (\d+)"),
    "edgetpu_ops": re.compile(r"Number of operations that will run on Edge TPU: (\d+)"),
    "cpu_ops": re.compile(r"Number of operations that will run on CPU: (\d+)"),
}
_COMPILED = re.compile(r"Models? compiled successfully in (\d+) ms")
_INPUT = re.compile(r"Input(?: model)?: (\S.*)")
_OUTPUT = re.compile(r"Output(?: model)?: (\S.*)")
_ROW = re.compile(r"([A-Z][A-Z0-9_]+|[A-Za-z][\w-]*)\s+(\d+)\s{2,}(\S.*?)\s*")
_ATTEMPT = re.compile(r"Try to compile segment with (\d+) ops")
_FAILURES = re.compile(
    r"(?:ERROR: |Compilation failed: )(?P<said>\S.*)"
    r"|(?P<alone>Internal compiler error\. Aborting!|Invalid model: \S.*|Model not quantized|Model could not be parsed)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedOps:
    """One row of the table of operations: so many ops of this name have this status."""

    op: str
    count: int
    status: str


@dataclass(slots=True, kw_only=True)
class LoggedModel:
    """What was logged of one compiled model. A figure that the log lacks is None. ``file`` is the name without folders."""

    file: str
    output: str | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    rows: list[LoggedOps] = field(default_factory=list)

    @property
    def on_chip_used_bytes(self) -> int | None:
        return self.sizes.get("on_chip_used_bytes")

    @property
    def on_chip_remaining_bytes(self) -> int | None:
        if "on_chip_remaining_bytes" in self.sizes:
            return self.sizes["on_chip_remaining_bytes"]
        if "on_chip_available_bytes" in self.sizes and "on_chip_used_bytes" in self.sizes:
            return max(0, self.sizes["on_chip_available_bytes"] - self.sizes["on_chip_used_bytes"])
        return None

    @property
    def off_chip_bytes(self) -> int | None:
        return self.sizes.get("off_chip_bytes")

    @property
    def mapped(self) -> int | None:
        """Ops on the Edge TPU: as the log says, or summed over its table. None if it has neither."""
        if "edgetpu_ops" in self.counts:
            return self.counts["edgetpu_ops"]
        return sum(row.count for row in self.rows if row.status == MAPPED) if self.rows else None

    @property
    def cpu(self) -> int | None:
        if "cpu_ops" in self.counts:
            return self.counts["cpu_ops"]
        return sum(row.count for row in self.rows if row.status != MAPPED) if self.rows else None

    def by_op(self) -> dict[str, Counter[str]]:
        """Op -> how many have which status."""
        result: dict[str, Counter[str]] = {}
        for row in self.rows:
            result.setdefault(row.op, Counter())[row.status] += row.count
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerLog:
    """One log. ``attempts``: ops of each try of ``-d``. ``errors``: what the compiler complained of, each once, in order.

    ``succeeded`` is None where the log ends before it says so (tables of operations alone do not).
    """

    compiler: str | None
    compile_ms: int | None
    models: tuple[LoggedModel, ...]
    attempts: tuple[int, ...]
    errors: tuple[str, ...]
    succeeded: bool | None


def parse(text: str) -> CompilerLog:
    """Return what ``text`` says. Lines that are not the compiler's are passed over; a log that is cut off raises nothing."""
    lines = [line.strip() for line in text.splitlines() if not line.startswith("#")]
    body = "\n".join(lines)
    versions = _VERSION.findall(body)
    compiled = _COMPILED.search(body)
    models = tuple(_models(lines))
    errors = tuple(dict.fromkeys((found["said"] or found["alone"]).strip() for found in _FAILURES.finditer(body)))
    succeeded: bool | None = None
    # The last word counts: -d fails several times before it succeeds.
    verdicts = re.findall(r"Compilation (succeeded|failed)!", body)
    if verdicts:
        succeeded = verdicts[-1] == "succeeded"
    elif compiled:
        succeeded = True
    elif errors and not models:
        succeeded = False
    return CompilerLog(
        compiler=versions[-1] if versions else None,
        compile_ms=int(compiled[1]) if compiled else None,
        models=models,
        attempts=tuple(int(count) for count in _ATTEMPT.findall(body)),
        errors=errors,
        succeeded=succeeded,
    )


def _models(lines: list[str]) -> Iterator[LoggedModel]:
    """Yield a record per model. The log file repeats the name of a model that the printed part has introduced.

    Figures of a log that names no model (people quote parts) become a record without a name, one per set of figures.
    """
    known: dict[str, LoggedModel] = {}
    current: LoggedModel | None = None
    for line in lines:
        if named := _INPUT.fullmatch(line):
            file = re.split(r"[/\\]", named[1])[-1]
            current = known.setdefault(file, LoggedModel(file=file))
        elif current is None or (not current.file and current.sizes.keys() & _figures(line).keys()):
            if figures := _figures(line):
                current = known.setdefault(f" {len(known)}", LoggedModel(file="", sizes=dict(figures)))
        elif written := _OUTPUT.fullmatch(line):
            current.output = written[1]
        elif row := _ROW.fullmatch(line):
            status = _status(row[3])
            if status is not None:
                current.rows.append(LoggedOps(op=row[1], count=int(row[2]), status=status))
        else:
            current.sizes.update(_figures(line))
            current.counts.update({name: int(found[1]) for name, pattern in _COUNTS.items() if (found := pattern.match(line))})
    yield from known.values()


def _figures(line: str) -> Mapping[str, int]:
    return {name: round(float(found[1]) * _UNITS[found[2]]) for name, pattern in _SIZES.items() if (found := pattern.match(line))}


def _status(text: str) -> str | None:
    """Return the status that ``text`` is, or is the beginning of (logs get cut off); an unknown one as it stands."""
    if text in ("Status",):
        return None
    beginning = [status for status in STATUSES if status.startswith(text)]
    return beginning[0] if len(beginning) == 1 else text
