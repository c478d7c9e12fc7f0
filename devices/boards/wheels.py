"""Which wheels a board's environment is made of.

Every wheel is pinned by SHA-256 in ``wheels.json``. The workstation fetches it, for the board's Python and processor, and sends
it (`devices.rollout.wheels`): a board needs no access to the internet. Only what the runtime imports is installed: interpreter,
numpy, Pillow (ai-edge-litert's interpreter module needs numpy alone; the rest of its requirements serve its converter).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ..errors import BoardRefusedError

RUNTIMES = ("ai-edge-litert", "tflite-runtime")
_PINS = Path(__file__).with_name("wheels.json")
_OLDEST, _NEWEST = (3, 11), (3, 14)
_RANGE = f"{_OLDEST[0]}.{_OLDEST[1]} to {_NEWEST[0]}.{_NEWEST[1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedWheel:
    """One wheel file. ``python`` is ``cp311``; ``platforms`` are its platform tags."""

    file: str
    sha256: str

    @property
    def package(self) -> str:
        return self.file.split("-")[0].replace("_", "-")

    @property
    def version(self) -> str:
        return self.file.split("-")[1]

    @property
    def python(self) -> str:
        return self.file.split("-")[2]

    @property
    def platforms(self) -> tuple[str, ...]:
        return tuple(self.file.removesuffix(".whl").split("-")[4].split("."))

    @property
    def glibc(self) -> tuple[int, int]:
        """The oldest glibc that it runs with: the lowest of its tags."""
        return min((2, 17) if tag.startswith("manylinux2014") else (2, int(tag.split("_")[2])) for tag in self.platforms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What goes into an environment: wheels, and modules that come from the board's own packages."""

    runtime: str
    wheels: tuple[PinnedWheel, ...]
    from_system: tuple[str, ...] = ()


def pins() -> tuple[PinnedWheel, ...]:
    """Return all pinned wheels."""
    return tuple(PinnedWheel(file=file, sha256=sha256) for file, sha256 in json.loads(_PINS.read_text("utf-8")).items())


def select(*, python: tuple[int, int] | None, arch: str, glibc: tuple[int, int] | None, runtime: str | None = None) -> Selection:
    """Return the wheels for a board. runtime: one of RUNTIMES; default the first that has a wheel for it.

    Raises BoardRefusedError, which says why there is none and what would help.
    """
    if python is None or python < _OLDEST:
        shown = "no Python 3" if python is None else f"Python {python[0]}.{python[1]}"
        raise BoardRefusedError(f"the board has {shown}, edgekit needs {_RANGE}; install Raspberry Pi OS Bookworm or later")
    if python > _NEWEST:
        raise BoardRefusedError(f"no interpreter is known for Python {python[0]}.{python[1]}; {_RANGE} work")
    if glibc is None:
        raise BoardRefusedError(
            "the board's C library is not glibc, and every interpreter wheel needs it; use a Debian-based system"
        )
    tag = f"cp{python[0]}{python[1]}"
    here = [wheel for wheel in pins() if wheel.python == tag and wheel.platforms[0].endswith(f"_{arch}")]
    for name in (runtime,) if runtime else RUNTIMES:
        interpreter = next((wheel for wheel in here if wheel.package == name), None)
        if interpreter is None:
            continue
        if interpreter.glibc > glibc:
            raise BoardRefusedError(
                f"{name} needs glibc {interpreter.glibc[0]}.{interpreter.glibc[1]}, the board has {glibc[0]}.{glibc[1]};"
                " install a newer system"
            )
        # tflite-runtime 2.14 is built against NumPy 1; NumPy 2 says of such modules that they "may crash" (2026-11-30).
        wanted = {"numpy": "1." if name == "tflite-runtime" else "2.", "pillow": ""}
        found = {
            package: next((wheel for wheel in here if wheel.package == package and wheel.version.startswith(begin)), None)
            for package, begin in wanted.items()
        }
        modules = {"numpy": "numpy", "pillow": "PIL"}
        return Selection(
            runtime=name,
            wheels=(interpreter, *(wheel for wheel in found.values() if wheel is not None)),
            from_system=tuple(modules[package] for package, wheel in found.items() if wheel is None),
        )
    which = runtime or "interpreter"
    why = " (for 32-bit ARM there is one for Python 3.11 only: Raspberry Pi OS Bookworm)" if arch == "armv7l" else ""
    raise BoardRefusedError(f"there is no {which} wheel for Python {python[0]}.{python[1]} on {arch}{why}; use a 64-bit system")
