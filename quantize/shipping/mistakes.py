"""What is wrong with what was asked for, found in moments and told at once, before any work.

What can be wrong with the network's file and its labels is looked at as for every command that loads one.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

from devices.boards import board_files, profiles, target_names
from devices.errors import DeviceError
from edge.commands.parsing import nearest
from edge.data.dataset import LabelledImages, shown
from edge.errors import EdgeError

from ..variants import VARIANTS
from .request import RESCUES, Request

_EXTRA = ("tensorflow", "keras")


def find(request: Request) -> list[str]:
    """Return one line for each mistake: what, where, and what to do about it."""
    found = [*_photos(request), *_numbers(request), *_names(request), *_board(request), *_places(request)]
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        found.append(f"{', '.join(missing)}: not installed here; pip install 'edgekit[quantize]'")
    return found


def _photos(request: Request) -> Iterator[str]:
    parts = {flag: _listed(flag, place) for flag, place in (("--train", request.train), ("--test", request.test))}
    yield from (found for found in parts.values() if isinstance(found, str))
    train, test = parts["--train"], parts["--test"]
    if isinstance(test, LabelledImages) and not test.labelled:
        yield (
            f"--test {request.test}: without labels nothing can be proven; expected one folder of photos for each class, or a .csv with"
            " the columns path and label"
        )
    if isinstance(train, str) or isinstance(test, str):
        return
    paths = {source.resolve() for item in train for source in item.sources}
    both = [item.id for item in test if any(source.resolve() in paths for source in item.sources)]
    if both:
        yield f"--train and --test share {len(both):,} photos ({shown(both)}); what a network has seen proves nothing: keep them apart"
    unknown = sorted(set(test.labels) - set(train.labels)) if train.labelled and request.labels is None else []
    if unknown and train.labels:
        yield f"--test {request.test}: classes that --train has not: {shown(unknown)}; rename the folders, or give --labels FILE"


def _listed(flag: str, place: str) -> LabelledImages | str:
    try:
        return LabelledImages.open(place)
    except EdgeError as error:
        return f"{flag} {str(error)}"


def _numbers(request: Request) -> Iterator[str]:
    if not 0.0 < request.max_drop < 1.0:
        yield f"--max-drop {request.max_drop:g}: expected a fraction above 0 and below 1 (0.01 is one point of top-1)"
    if request.max_ms is not None and not 0.0 < request.max_ms < float("inf"):
        yield f"--max-ms {request.max_ms:g}: expected milliseconds above 0"
    elif request.max_ms is not None and request.board is None and request.profile is None:
        yield f"--max-ms {request.max_ms:g}: of which board? give --board TARGET to measure it, or --profile NAME to predict it"
    if request.minutes is not None and not 0.0 < request.minutes < float("inf"):
        yield f"--minutes {request.minutes:g}: expected minutes above 0"
    if request.certify < 1:
        yield f"--certify {request.certify}: expected at least 1 photo"


def _names(request: Request) -> Iterator[str]:
    yield from _unknown("--variants", request.variants, VARIANTS)
    yield from _unknown("--allow", request.allow, RESCUES)
    if not [name for name in request.variants if name != "float32"]:
        yield "--variants float32: float32 is what the others are compared with; name one more, such as int8"


def _unknown(flag: str, given: tuple[str, ...], known: tuple[str, ...]) -> Iterator[str]:
    for name in given:
        if name not in known:
            close = nearest(name, known)
            hint = f"did you mean {close}?" if close else f"expected some of {', '.join(known)}"
            yield f"{flag} {name}: {hint}"


def _board(request: Request) -> Iterator[str]:
    checks: list[tuple[str, Callable[[], object]]] = []
    board, profile = request.board, request.profile
    if board is not None:
        checks.append(("--board", lambda: target_names.read(board)))
    if profile is not None:
        checks.append(("--profile", lambda: profiles.board(profile, board_files.read())))
    for flag, check in checks:
        try:
            check()
        except DeviceError as error:
            yield f"{flag} {str(error)}"
    without = {"--folder": request.folder, "--ssh-config": request.ssh_config, "--wheels": request.wheels}
    given = [flag for flag, value in without.items() if value is not None]
    if given and board is None:
        yield f"{', '.join(given)}: of use with a board only; name it with --board TARGET"


def _places(request: Request) -> Iterator[str]:
    for flag, value, there in (
        ("--ssh-config", request.ssh_config, Path.is_file),
        ("--wheels", request.wheels, Path.is_dir),
    ):
        if value is not None and not there(Path(value)):
            yield f"{flag} {value}: not there"
