"""One command line for boards: which flags go there as they are, and which name files of this machine."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from ..errors import DeviceError
from ..rollout.deploy import check_artefact
from ..rollout.environments import Options

VERBS = ("validate", "benchmark", "selftest")
ON_THE_BOARD = "board:"  # --images board:/home/pi/photos

_VALUED = (
    *("--on", "--folder", "--ssh-config", "--wheels", "--json", "--images", "--reference", "--limit", "--max-drop", "--labels"),
    *("--certify", "--delegate"),
    *("--store", "--format"),  # of this machine: nothing is remembered on the board, and no report made
)
_SWITCHES = ("--sequential", "--shard")
_ONCE = ("images", "reference", "limit", "max_drop", "labels", "delegate", "certify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One command line for boards. ``flags`` is what the board gets as it is; files are named by their places here.

    ``delegate`` is a library of the board. ``sequential``: stop when ``max_drop`` is decided. ``certify``: compare so many images
    bit by bit first. ``part``: this board's share of the images, (which, of how many).
    """

    verb: str
    file: Path
    sha256: str
    flags: tuple[str, ...]
    images: str | None
    reference: Path | None
    labels: Path | None
    delegate: str | None
    limit: int | None
    max_drop: float | None
    sequential: bool
    certify: int | None
    part: tuple[int, int] | None
    options: Options

    @property
    def images_there(self) -> bool:
        """Whether the images are on the board already."""
        return self.images is not None and self.images.startswith(ON_THE_BOARD)

    @property
    def follow_links(self) -> bool:
        """Whether links may lead out of the folder of images. The board, which gets copies, is told so too."""
        return "--follow-links" in self.flags

    @property
    def compares_with_itself(self) -> bool:
        """Whether the reference is the very file: then the board is compared with this machine."""
        reference = self.reference
        return reference is not None and reference.suffix.lower() != ".npz" and check_artefact(reference) == self.sha256


def read(args: argparse.Namespace) -> Request:
    """Return the request in a parsed command line. Raises DeviceError for what cannot be done on a board."""
    # Exact flags only: what is abbreviated would be sent on, and mean something else there.
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag in _VALUED:
        own.add_argument(flag, action="append")
    for flag in _SWITCHES:
        own.add_argument(flag, action="store_true")
    mine, rest = own.parse_known_args(args.argv[1:])
    verb, file = args.argv[0], args.file
    if file is None or file not in rest:
        raise DeviceError(f"{verb} --on needs a FILE")
    rest.remove(file)
    for name in _ONCE:
        if getattr(args, name, None) is not None and len(getattr(mine, name) or ()) != 1:
            raise DeviceError(f"with --on, write --{name.replace('_', '-')} once and in full")

    def path(name: str) -> Path | None:
        value = getattr(args, name, None)
        return None if value is None else Path(value)

    request = Request(
        verb=verb,
        file=Path(file),
        sha256=check_artefact(Path(file)),
        flags=tuple(rest),
        images=getattr(args, "images", None),
        reference=path("reference"),
        labels=path("labels"),
        delegate=getattr(args, "delegate", None),
        limit=getattr(args, "limit", None),
        max_drop=getattr(args, "max_drop", None),
        sequential=bool(getattr(args, "sequential", False)),
        certify=getattr(args, "certify", None),
        part=None,
        options=Options(folder=args.folder, wheels=path("wheels")),
    )
    _check(request)
    return request


def _check(request: Request) -> None:
    limit = request.max_drop
    if request.verb == "validate" and request.images is None:
        raise DeviceError("validate --on needs --images DIR (or board:DIR for a folder that is on the board)")
    if limit is not None and not 0.0 < limit < 1.0:
        raise DeviceError(f"--max-drop is {limit}, expected a fraction above 0 and below 1 (0.01 is one point)")
    here = request.images is not None and not request.images_there
    if request.sequential and (limit is None or request.reference is None or not here):
        raise DeviceError("--sequential needs --max-drop, --reference and --images DIR on this machine")
    if request.certify is not None and (request.certify < 1 or not here):
        raise DeviceError("--certify N needs N of at least 1, and --images DIR on this machine")
    if request.certify is not None and request.sequential:
        raise DeviceError("--certify and --sequential are two ways to save images; choose one")
    if request.labels is not None and not request.labels.is_file():
        raise DeviceError(f"{request.labels}: no such file of labels")
