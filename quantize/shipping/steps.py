"""The steps as data: command lines of edgekit, and what each depends on."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, field

from .request import Request

ASKED = frozenset({0})
REFUSED = "refused"
"""The key of the answer that stands for a rescue which this network cannot have: its exit code, 2."""
JUDGED = frozenset({0, 1})  # 1: its verdict is no yes, which is an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command line: ``words`` behind ``edgekit``. ``answer``: where its JSON goes.

    ``files``: files and folders that it reads. ``photos``: folders and manifests of pictures that it reads. ``machine``: what the board is
    that it is done on. ``fine``: exit codes that are answers. ``always``: it looks at something outside, so that no earlier answer counts.
    ``state``: a file that is there where an interrupted run can be resumed. ``makes``: whether it makes a model, so that what comes behind
    it is not known before. ``optional``: where it refuses the network, the others go on without it.
    """

    name: str
    words: tuple[str, ...]
    answer: str
    files: tuple[str, ...] = ()
    photos: tuple[str, ...] = ()
    machine: str = ""
    fine: frozenset[int] = field(default=ASKED)
    always: bool = False
    state: str | None = None
    makes: bool = False
    optional: bool = False

    @property
    def line(self) -> str:
        """The line that a person types for it."""
        return shlex.join(("edgekit", *self.words))


def _step(request: Request, name: str, *words: str, **rest: object) -> Step:
    answer = request.answer(name)
    return Step(name=name, words=(*words, "--json", answer), answer=answer, **rest)  # type: ignore[arg-type]


def _model(request: Request) -> dict[str, object]:
    """What every step that loads the network depends on."""
    files = (request.model, *([request.labels] if request.labels else ()))
    return {"files": files, "makes": True}


def doctor(request: Request) -> Step:
    """Look at the board before any work."""
    return _step(request, "doctor", "doctor", _board(request), *_ssh(request), fine=JUDGED, always=True)


def quantize(request: Request) -> Step:
    """Make the variants."""
    words = ("quantize", request.model, "--images", request.train, "--validation", request.test)
    made = ("--variants", ",".join(request.variants), "--out", request.out)
    return _step(request, "quantize", *words, *made, *request.source, photos=(request.train,), **_model(request))


def check(request: Request, candidate: str, file: str, profile: str) -> Step:
    """Predict for the board."""
    return _step(request, f"check {candidate}", "check", file, "--board", profile, files=(file,), fine=JUDGED)


def validate(request: Request, candidate: str, file: str) -> Step:
    """Compare with float32, picture by picture."""
    words = ("validate", file, "--reference", request.made("float32"), "--images", request.test)
    gate = ("--max-drop", f"{request.max_drop:g}")
    files, photos = (file, request.made("float32")), (request.test,)
    return _step(request, f"validate {candidate}", *words, *gate, files=files, photos=photos, fine=JUDGED)


def tune(request: Request, profile: str | None) -> Step:
    """Mixed precision."""
    board = () if profile is None else ("--board", profile)
    return _training(request, "tune", "--max-drop", f"{request.max_drop:g}", *board, fine=JUDGED)


def qat(request: Request) -> Step:
    """Quantization-aware training. Photos of --train choose the best epoch: those of --test are to judge it."""
    names = () if request.class_names is None else ("--labels", request.class_names)
    photos = (request.learning, request.choosing)
    return _training(request, "qat", *names, photos=photos, state=request.place("qat", f"{request.name}.qat", "state.npz"))


def shrink(request: Request, profile: str | None, measured_ms: float | None) -> Step:
    """A smaller network. measured_ms: what the board took for the file that is too slow, None where that is predicted."""
    budget: tuple[str, ...] = ()
    if request.max_ms is not None and measured_ms is not None:
        # What this machine or the prediction say of the board is less than a ratio that was measured there.
        budget = ("--speedup", f"{math.ceil(10.5 * measured_ms / request.max_ms) / 10:g}")
    elif request.max_ms is not None and profile is not None:
        budget = ("--max-ms", f"{request.max_ms:g}", "--board", profile)
    budget += () if request.minutes is None else ("--minutes", f"{request.minutes:g}")
    state = request.place("shrink", f"{request.name}.shrunk", "search.json")
    return _training(request, "shrink", "--max-drop", f"{request.max_drop:g}", *budget, fine=JUDGED, state=state)


def _training(request: Request, kind: str, *words: str, photos: tuple[str, str] | None = None, **rest: object) -> Step:
    # A folder of its own: qat writes an int8 file too, under the name that quantize gives.
    images, validation = photos or (request.train, request.test)
    common = ("--images", images, "--validation", validation, *words, "--out", request.place(kind))
    seen = (request.train,) if photos else (request.train, request.test)  # lists are made of what is in train
    return _step(
        request, kind, kind, request.model, *common, *request.source, photos=seen, optional=True, **_model(request), **rest
    )


def certify(request: Request, candidate: str, file: str, machine: str) -> Step:
    """Compare bits on the board, and give the verdict there."""
    float32 = request.made("float32")
    words = ("validate", file, "--reference", float32, "--images", request.test, "--max-drop", f"{request.max_drop:g}")
    on = ("--on", _board(request), "--certify", str(request.certify), *_there(request))
    needs: dict[str, object] = {"files": (file, float32), "photos": (request.test,), "machine": machine}
    return _step(request, f"certify {candidate}", *words, *on, fine=JUDGED, **needs)


def benchmark(request: Request, candidate: str, file: str, machine: str) -> Step:
    """Measure on the board."""
    words = ("benchmark", file, "--on", _board(request), *_there(request))
    return _step(request, f"benchmark {candidate}", *words, files=(file,), machine=machine)


def status(request: Request) -> Step:
    """Ask the board what is deployed there."""
    folder = _there(request)[: 2 * (request.folder is not None)]
    return _step(request, "status", "status", _board(request), *folder, *_ssh(request), fine=JUDGED, always=True)


def deploy(request: Request, candidate: str, file: str) -> Step:
    """Make it the current release."""
    return _step(request, f"deploy {candidate}", "deploy", file, _board(request), *_there(request), files=(file,))


def report(request: Request, answers: tuple[str, ...], out: str, title: str | None) -> Step:
    """Put all answers on one page."""
    place = request.place("report.json")  # not among the answers that it is made of
    words = ("report", *answers, "--out", out, *(() if title is None else ("--title", title)), "--json", place)
    return Step(name="report", words=words, answer=place, files=answers, fine=JUDGED)


def _board(request: Request) -> str:
    assert request.board is not None
    return request.board


def _there(request: Request) -> tuple[str, ...]:
    folder = () if request.folder is None else ("--folder", request.folder)
    wheels = () if request.wheels is None else ("--wheels", request.wheels)
    return (*folder, *_ssh(request), *wheels)


def _ssh(request: Request) -> tuple[str, ...]:
    return () if request.ssh_config is None else ("--ssh-config", request.ssh_config)
