"""Finds libedgetpu and tries a compiled model out in another process first.

Google's libedgetpu 16.0 takes the process down with interpreters from TensorFlow 2.12 on (google-coral/edgetpu#812), and is archived
since October 2025. Community builds for newer interpreters are at github.com/feranick/libedgetpu. Their maintainer says that they
work with ai-edge-litert (LiteRT#3611, September 2025); here that is untested.
"""

from __future__ import annotations

import ctypes.util
from pathlib import Path

from devices.boards.coral_end import COMMUNITY_LIBRARY

from ..errors import InterpreterError
from ..system.child import Child, ChildDiedError
from . import interpreter

TIMEOUT_S = 60.0

# Said with every failure, so that nobody looks for the mistake on their side only.
_UNTESTED = "; with ai-edge-litert libedgetpu is untested here, tflite-runtime is the safer choice"


def find_library() -> str:
    """Return the name of the installed libedgetpu, as the loader finds it. Raises InterpreterError with what to install."""
    name = ctypes.util.find_library("edgetpu")
    if name is None:
        raise InterpreterError(
            f"libedgetpu is not installed: take libedgetpu1-std for your interpreter from {COMMUNITY_LIBRARY};"
            " edgekit doctor says what else the board needs"
        )
    return name


def try_out(model: str | Path, library: str | None = None) -> str:
    """Run the compiled ``model`` once through libedgetpu in another process, and return the library to give as ``delegate``.

    Raises InterpreterError with the reason if it does not run there: so it would take this process down.
    """
    library = find_library() if library is None else library
    try:
        with Child("edge.runtime.isolation", str(TIMEOUT_S), timeout_s=TIMEOUT_S) as child:
            problem = child.ask({"path": str(Path(model).resolve()), "delegate": library})[0]["problem"]
    except TimeoutError as error:
        raise InterpreterError(f"{model}: no answer from the Edge TPU within {TIMEOUT_S:g} s; unplug and replug it") from error
    except ChildDiedError as died:
        raise InterpreterError(
            f"{model}: {library} takes the interpreter down ({died.how}): built for another TensorFlow Lite than {_installed()};"
            f" for that version take {COMMUNITY_LIBRARY}{_UNTESTED}; edgekit doctor looks at the rest"
        ) from died
    if problem is not None:
        raise InterpreterError(
            f"{model}: the Edge TPU refuses it through {library}: {problem} (interpreter: {_installed()}){_UNTESTED};"
            " edgekit doctor says whether device, driver and rights are there"
        )
    return library


def _installed() -> str:
    return ", ".join(interpreter.available()) or "none"
