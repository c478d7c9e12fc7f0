"""What a user would do next, in one line: a command that can be typed, fitting what has just happened.

Each function takes the command's arguments and its answer (what ``--json`` has) and returns words of a command line, or a sentence.
``DIR``, ``TARGET`` and ``BOARD`` stand for what is not known here.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Answer = Mapping[str, Any]
Step = Callable[[argparse.Namespace, Answer], "Sequence[Any] | str"]

_HELD_OUT = "DIR"
_CERTIFIED = 32  # images: enough to see that the board's bits are this machine's


def after(command: str, args: argparse.Namespace, answer: Answer) -> str | None:
    """Return the line behind ``next:``, None where nothing can be said: for a command that is not edgekit's own, say."""
    step = _STEPS.get(command)
    if step is None:
        return None
    try:
        found = step(args, answer)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError):
        return None  # an answer of another form, such as that of several boards: no advice is better than a wrong one
    return found if isinstance(found, str) else "edgekit " + shlex.join(str(word) for word in found)


def _validate(file: Any, reference: Any = None, images: Any = None) -> list[Any]:
    against = [] if reference is None else ["--reference", reference, "--max-drop", "0.01"]
    return ["validate", file, *against, "--images", images or _HELD_OUT]


def _measure(file: Any, target: str) -> list[Any]:
    """Return what there is to be measured on a board: of an emulated one its bits, and no speed."""
    if target.startswith("virtual:"):
        return ["validate", file, "--images", _HELD_OUT, "--on", target, "--certify", _CERTIFIED]
    return ["benchmark", file, "--on", target]


def _made(answer: Answer, variant: str) -> str | None:
    return next((entry["file"] for entry in answer["variants"] if entry["name"] == variant), None)


def _init(args: argparse.Namespace, answer: Answer) -> Sequence[Any] | str:
    if answer["missing"]:
        return f"write {', '.join(answer['missing'])} into {answer['file']}, then: edgekit ship --dry-run"
    return ["ship", "--dry-run"]


def _quantize(args: argparse.Namespace, answer: Answer) -> Sequence[Any]:
    best = next(filter(None, (_made(answer, name) for name in ("int8", "int16x8", "dynamic", "float16", "float32"))), "FILE")
    reference = _made(answer, "float32")
    return _validate(best, reference if reference != best else None)


def _ship(args: argparse.Namespace, answer: Answer) -> Sequence[Any] | str:
    if not answer:  # --dry-run, or a no to the question
        return "the same without --dry-run"
    if answer["verdict"] == "pass":
        return ["status", args.board] if args.board else ["deploy", answer["shipped"], "TARGET"]
    return next(
        (each["line"] for each in answer["advice"] if each.get("line")), "give more photos in --test, or another --max-drop"
    )


def _explain(args: argparse.Namespace, answer: Answer) -> Sequence[Any]:
    return ["tune", "MODEL", "--images", _HELD_OUT, "--validation", args.images, "--max-drop", "0.01"]


def _tune(args: argparse.Namespace, answer: Answer) -> Sequence[Any]:
    if "file" in answer:
        return _validate(answer["file"])
    return ["qat", args.model, "--images", args.images, "--validation", args.validation]


def _import(args: argparse.Namespace, answer: Answer) -> Sequence[Any]:
    return ["quantize", answer["keras"], "--images", args.images or _HELD_OUT]


def _fetch(args: argparse.Namespace, answer: Answer) -> Sequence[Any]:
    if not answer:  # the catalogue was shown
        return ["fetch", "NAME"]
    slim = str(answer["name"]).startswith("slim")
    return ["import", answer["use"], "--as", "slim"] if slim else ["quantize", answer["use"], "--images", _HELD_OUT]


def _inspect(args: argparse.Namespace, answer: Answer) -> Sequence[Any]:
    return ["check", args.file] if answer["contract"] else ["classify", args.file, "PICTURE", "--show-input"]


def _validated(args: argparse.Namespace, answer: Answer) -> Sequence[Any] | str:
    if "images" not in answer:  # a plan
        return ["validate", "FILE", "--reference", "FLOAT", "--max-drop", args.max_drop, "--images", _HELD_OUT]
    verdict = answer["verdict"]
    if args.reference is None:
        return _validate(args.file, "FLOAT", args.images)
    if verdict is None:
        return _validate(args.file, args.reference, args.images)
    if verdict == "pass":
        return ["deploy", args.file, "TARGET"] if not getattr(args, "on", None) else _measure(args.file, args.on[0])
    if verdict == "undecided" and answer.get("images_to_decide"):
        return f"validate on {answer['images_to_decide']:,} images or more: so many decide it, if what was seen goes on"
    return ["explain", args.file, "--reference", args.reference, "--images", args.images]


def _benchmark(args: argparse.Namespace, answer: Answer) -> Sequence[Any] | str:
    if answer.get("quotable") is False:
        return "measure again when the machine is idle and cool: this is not its speed"
    if not answer.get("per_op"):
        return ["benchmark", args.file, *(["--on", args.on[0]] if args.on else []), "--per-op"]
    return ["validate", args.file, "--images", _HELD_OUT]


def _selftest(args: argparse.Namespace, answer: Answer) -> Sequence[Any]:
    return _validate(args.file) if answer.get("passed", True) else ["doctor", args.on[0] if args.on else "local"]


def _check(args: argparse.Namespace, answer: Answer) -> Sequence[Any]:
    if "boards" in answer:
        return ["check", args.file, "--board", "BOARD", "--ops"]
    if answer["fits"]:
        return ["deploy", args.file, "TARGET"]
    return ["shrink", "MODEL", "--images", _HELD_OUT, "--validation", _HELD_OUT, "--max-drop", "0.01", "--board", answer["board"]]


def _runs(args: argparse.Namespace, answer: Answer) -> Sequence[Any]:
    ids = [run["id"] for run in answer.get("runs", ()) if isinstance(run, Mapping) and run.get("id") is not None]
    return ["report", *(f"{min(ids)}-{max(ids)}" for _ in ids[:1]), "--out", "report.html"] if ids else ["runs"]


def _report(args: argparse.Namespace, answer: Answer) -> Sequence[Any] | str:
    if args.out is None:
        return ["report", *args.runs, "--out", "report.html"]
    return f"open {args.out} in a browser" if args.out.endswith((".html", ".htm")) else f"read {args.out}"


def _deploy(args: argparse.Namespace, answer: Answer) -> Sequence[Any]:
    return ["validate", args.file, "--images", _HELD_OUT, "--on", args.targets[0], "--certify", _CERTIFIED]


def _doctor(args: argparse.Namespace, answer: Answer) -> Sequence[Any] | str:
    healthy = answer.get("healthy", all(board.get("exit_code") == 0 for board in answer.get("boards", ())))
    return ["deploy", "FILE", *args.targets] if healthy else "do what stands behind the findings, then ask the doctor again"


def _status(args: argparse.Namespace, answer: Answer) -> Sequence[Any]:
    return _measure("FILE", args.targets[0]) if answer.get("current") else ["deploy", "FILE", *args.targets]


def _virtual(args: argparse.Namespace, answer: Answer) -> Sequence[Any]:
    action, name = args.argv[1], getattr(args, "name", "NAME")
    follows = {
        "create": ["virtual", "start", name],
        "start": ["deploy", "FILE", f"virtual:{name}"],
        "stop": ["virtual", "start", name],
    }
    return follows.get(action, ["virtual", "create", "NAME"])


_STEPS: Mapping[str, Step] = {
    "demo": lambda args, answer: "the same with a network of yours: edgekit init, in its folder",
    "init": _init,
    "ship": _ship,
    "quantize": _quantize,
    "qat": lambda args, answer: _validate(answer["recommended"], None, args.validation),
    "tune": _tune,
    "shrink": lambda args, answer: _validate(answer["int8"]),
    "import": _import,
    "fetch": _fetch,
    "relabel": lambda args, answer: ["selftest", answer["file"]],
    "validate": _validated,
    "compare": lambda args, answer: ["check", answer["artefacts"][answer["best"]]["file"], "--board", "BOARD"],
    "explain": _explain,
    "outputs": lambda args, answer: ["validate", "FILE", "--reference", answer["file"], "--images", args.images],
    "inspect": _inspect,
    "report": _report,
    "runs": _runs,
    "completion": lambda args, answer: "write it where the shell looks for it (edgekit completion --help), and open a new one",
    "boards": lambda args, answer: ["check", "FILE", "--board", args.name or "BOARD"],
    "check": _check,
    "virtual": _virtual,
    "doctor": _doctor,
    "deploy": _deploy,
    "selftest": _selftest,
    "benchmark": _benchmark,
    "throughput": lambda args, answer: ["benchmark", args.file, "--sweep-threads"],
    "classify": lambda args, answer: _validate(args.file),
    "watch": lambda args, answer: ["throughput", args.file, args.source],
    "status": _status,
    "rollback": lambda args, answer: ["status", *args.targets],
    "undeploy": lambda args, answer: ["deploy", "FILE", *args.targets],
}
COMMANDS = tuple(_STEPS)
