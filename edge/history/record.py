"""What is remembered of one run of a command, and how an answer in JSON is recognised and summed up."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib import metadata
from typing import Any

from devices import jsontext, origin
from devices.origin import Origin

from .. import report_schema, schema
from ..version import __version__

DOCUMENT = "edgekit_run"  # the key by which a file that `edgekit runs ID --json` wrote is recognised

# Keys that only this command's answer has, the first match counts. A sequential validation keeps counts only.
_MARKS = (
    ("ship", ("shipped", "advice")),
    ("validate", ("candidate", "drop", "per_class")),
    ("validate", ("sequential", "verdict", "drop")),
    ("benchmark", ("p50_ms", "peak_memory_mib")),
    ("explain", ("ladder", "worst_step")),
    ("qat", ("epochs", "best_epoch")),
    ("shrink", ("lineage", "candidates")),
    ("tune", ("candidates", "ranking")),
    ("deploy", ("release", "changed")),
    ("selftest", ("results", "promise")),
    ("check", ("fits", "macs")),
    ("quantize", ("variants", "notes")),
    ("import", ("agreement", "keras")),
    ("fetch", ("verified", "use")),
)
_PACKAGES = ("numpy", "ai-edge-litert", "tflite-runtime")
_WORKSTATION_PACKAGES = ("tensorflow", "tf_keras", "keras", "tensorflow-model-optimization")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A model that took part. ``role``: candidate, reference, made or fetched by the run. ``sha256`` is of its flatbuffer.

    Of what was fetched it is that of the file as it came.
    """

    role: str
    file: str
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run. ``id`` is None for one that is in no store; ``source`` is then the file it came from.

    ``time``: when it ended, UTC, ISO 8601. ``board``: where it was carried out or what it is about, None on this machine.
    ``report``: the command's whole JSON, None where it came to no answer; ``error`` then says why.
    """

    id: int | None
    time: str
    command: str
    arguments: tuple[str, ...]
    exit_code: int | None
    seconds: float | None
    board: str | None
    artefacts: tuple[Artefact, ...]
    dataset_sha256: str | None
    versions: Mapping[str, str]
    host: Mapping[str, Any]
    summary: str
    report: Mapping[str, Any] | None
    error: str | None = None
    source: str | None = field(default=None, compare=False)

    @property
    def label(self) -> str:
        """How people call it: its number, or its file."""
        return f"run {self.id}" if self.id is not None else self.source or self.command

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a file of its own that `edgekit report` and `edgekit runs --import` read."""
        plain = asdict(self)
        del plain["source"]
        return {DOCUMENT: 1, **plain, "arguments": list(self.arguments)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str | None = None) -> Run:
        """Read what `to_dict` gave. Raises ValueError that says where it is something else."""
        wrong = schema.problem(document, report_schema.RUN)
        if wrong is not None:
            raise ValueError(f"no record of a run: {wrong}")
        try:
            datetime.fromisoformat(document["time"])
        except ValueError as error:
            raise ValueError(f"no record of a run: time is {document['time']!r}, expected a date and time") from error
        fields = {name: document[name] for name in cls.__slots__ if name != "source"}
        artefacts = tuple(
            Artefact(role=entry["role"], file=entry["file"], sha256=entry["sha256"]) for entry in document["artefacts"]
        )
        return cls(**{**fields, "artefacts": artefacts, "arguments": tuple(document["arguments"]), "source": source})


def command_of(report: Mapping[str, Any]) -> str | None:
    """Return the command whose answer this is, or None."""
    return next((name for name, keys in _MARKS if all(key in report for key in keys)), None)


def split(report: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the answers in an answer: those of several boards each alone, anything else as it is."""
    boards = report.get("boards")
    if isinstance(boards, list) and "macs" not in report:
        yield from (entry for entry in boards if isinstance(entry, Mapping))
    else:
        yield report


def artefacts_of(report: Mapping[str, Any], *, read: bool = False) -> tuple[Artefact, ...]:
    """Return the models that an answer names. read: open the files for the hashes that it does not have."""
    found = []
    if "model_sha256" in report:
        model = report.get("model")
        file = model.get("file") if isinstance(model, Mapping) else report.get("file")
        found.append(Artefact(role="candidate", file=str(file or ""), sha256=_text(report["model_sha256"])))
    reference = report.get("reference")
    if isinstance(reference, Mapping):
        found.append(Artefact(role="reference", file=str(reference.get("file", "")), sha256=_text(reference.get("sha256"))))
    variants = report.get("variants")
    made = [entry.get("file") for entry in variants if isinstance(entry, Mapping)] if isinstance(variants, list) else []
    if "best_epoch" in report:
        made += [report.get("trained"), report.get("ptq")]
    elif "ranking" in report:
        made.append(report.get("file"))
    elif command_of(report) == "ship":
        made.append(report["shipped"])
    elif command_of(report) == "import":
        made += [report["keras"], report["float32"]["file"]]
    elif command_of(report) == "fetch":
        found.append(Artefact(role="fetched", file=str(report["use"]), sha256=_text(report.get("sha256"))))
    for file in filter(None, made):
        found.append(Artefact(role="made", file=str(file), sha256=_model_sha256(str(file)) if read else None))
    if "release" in report:
        found.append(Artefact(role="candidate", file=str(report["release"]), sha256=_text(report.get("sha256"))))
    return tuple(found)


def board_of(report: Mapping[str, Any]) -> str | None:
    """Return the board that an answer comes from or is about."""
    board = report.get("board")
    if isinstance(board, Mapping):
        return origin.of_board(report).place
    if isinstance(board, str):
        return f"{board} + {report['accelerator']}" if report.get("accelerator") else board
    target = report.get("target")
    return str(target) if target else None


def origin_of(run: Run) -> Origin:
    """Return where a run's figures come from."""
    report = run.report or {}
    if run.command == "check":
        return Origin(machine=run.board or "several boards", how=origin.PREDICTED)
    if run.board is not None and not isinstance(report.get("board"), Mapping):
        return Origin(machine=run.board.removesuffix(origin.EMULATED), emulated=run.board.endswith(origin.EMULATED))
    return origin.of_report(report, run.host)


def summary_of(report: Mapping[str, Any]) -> str:
    """Return what an answer says in a few words."""
    with contextlib.suppress(KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError):
        return _SUMMARIES[command_of(report) or ""](report)
    return ""


def versions(command: str) -> dict[str, str]:
    """Return the versions of edgekit, Python and the packages that the command works with."""
    found = {"edgekit": __version__, "python": platform.python_version()}
    for name in (
        *_PACKAGES,
        *(_WORKSTATION_PACKAGES if command in ("ship", "quantize", "qat", "explain", "tune", "shrink", "import") else ()),
    ):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def from_report(report: Mapping[str, Any], *, time: str, source: str | None = None) -> Run | None:
    """Return an answer that was found as a file as a run, None where it is no command's answer.

    Raises ValueError for one that no command can have written.
    """
    command = command_of(report)
    if command is None:
        return None
    wrong = report_schema.problem_of(command, report)
    if wrong is not None:
        raise ValueError(f"not as edgekit {command} writes it: {wrong}")
    runtime, host = report.get("runtime"), report.get("host")
    known = {}
    if isinstance(runtime, Mapping) and "package" in runtime:
        known[str(runtime["package"])] = str(runtime.get("version", "?"))
    return Run(
        id=None,
        time=time,
        command=command,
        arguments=(),
        exit_code=None,
        seconds=None,
        board=board_of(report),
        artefacts=artefacts_of(report),
        dataset_sha256=_text(report.get("dataset_sha256")),
        versions=known,
        host=host if isinstance(host, Mapping) else {},
        summary=summary_of(report),
        report=report,
        source=source,
    )


def parse(text: str, *, time: str, source: str) -> tuple[Run, ...]:
    """Return the runs in the text of a JSON file: one that was recorded, or a command's answer. Empty for other JSON.

    Raises ValueError if it is no JSON at all, or in what it is not as edgekit writes it.
    """
    data = jsontext.loads(text, mend=True)
    if not isinstance(data, Mapping):
        return ()
    if DOCUMENT in data:
        run = Run.from_dict(data, source=source)
        wrong = None if run.report is None else report_schema.problem_of(run.command, run.report)
        if wrong is not None:
            raise ValueError(f"not as edgekit {run.command} writes it: {wrong}")
        return (run,)
    found = (from_report(part, time=time, source=source) for part in split(data))
    return tuple(run for run in found if run is not None)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _model_sha256(file: str) -> str | None:
    from ..artefact import container  # 9 ms of processor time, median of 10 fresh processes
    from ..errors import EdgeError

    try:
        return container.read(file).model_sha256
    except (EdgeError, OSError):
        return None


def _validated(report: Mapping[str, Any]) -> str:
    if report.get("measured_on") == origin.THIS_MACHINE:
        return f"{_validated({**report, 'measured_on': None})}; measured here, {report['certificate']['images']} images bit-equal there"
    drop, verdict = report["drop"], report["verdict"]
    if "sequential" in report:
        limit = 100 * report["sequential"]["limit"]
        counts = f"{drop['flips_lost']} lost, {drop['flips_won']} won of {report['images']} images"
        return f"{verdict}: {counts}, sequential test, limit {limit:.2f} points"
    if drop is None:
        top1 = report["candidate"]["top1"]
        return f"{report['images']} images" if top1 is None else f"top-1 {top1:.1%} of {report['images']} images"
    low, high = (100 * bound for bound in drop["ci95"])
    return f"{verdict or 'no limit'}: drop {100 * drop['top1']:+.2f} points ({low:+.2f} to {high:+.2f})"


def _checked(report: Mapping[str, Any]) -> str:
    if isinstance(report.get("boards"), list):
        return f"predicted: fits {sum(board['fits'] is True for board in report['boards'])} of {len(report['boards'])} boards"
    fits = {True: "fits", False: "does not fit"}.get(report["fits"], "nobody knows whether it fits")
    latency = report.get("latency_ms")
    return f"predicted: {fits}" if latency is None else f"predicted: {fits}, about {latency['expected']:.3g} ms"


def _timed(report: Mapping[str, Any]) -> str:
    said = f"p50 {report['p50_ms']:.3g} ms, p99 {report['p99_ms']:.3g} ms"
    energy = report.get("energy")
    if energy is not None:
        said += f", {energy['joules_per_run']:.3g} J"
    if origin.of_report(report).emulated:
        return f"{said}; of an emulation, no board's speed"
    return said if report.get("quotable", True) else f"{said}; not quotable"


def _imported(report: Mapping[str, Any]) -> str:
    agreement = report["agreement"]
    compared = "not compared with a graph" if agreement is None else f"as the graph within {agreement['relative']:.1e}"
    return f"{report['source']['parameters']:,} parameters, {compared}"


def _trained(report: Mapping[str, Any]) -> str:
    return f"epoch {report['best_epoch']} is best; deploy {str(report['recommended']).rpartition('/')[2]}"


_SUMMARIES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "ship": lambda report: str(report["sentence"]),
    "validate": _validated,
    "benchmark": _timed,
    "explain": lambda report: f"largest step: {report['worst_step']}",
    "qat": _trained,
    "tune": lambda report: str(report["chosen"] or "nothing is proven"),
    "shrink": lambda report: (
        f"{report['chosen']}, {report['original']['ms'] / report['shrunk']['ms']:.2f} times faster: {report['verdict']}"
    ),
    "deploy": lambda report: "now current" if report["changed"] else "was current already",
    "selftest": lambda report: "exact" if report.get("exact") else "as promised" if report.get("passed") else "NOT as promised",
    "check": _checked,
    "quantize": lambda report: ", ".join(entry["name"] for entry in report["variants"]),
    "import": _imported,
    "fetch": lambda report: f"{report['name']}, {'new' if report['fresh'] else 'was there already'}",
}
