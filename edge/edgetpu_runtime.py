"""Finds libedgetpu and tries a compiled model out in another process first.

Google's libedgetpu 16.0 takes the process down with interpreters from TensorFlow 2.12 on (google-coral/edgetpu#812); rebuilds for
newer ones are at github.com/feranick/libedgetpu. Whether any works with ai-edge-litert 2.x is not known: nobody has reported it.
"""

from __future__ import annotations

import ctypes.util
import json
import signal
import subprocess
import sys
from pathlib import Path

from . import interpreter
from .errors import InterpreterError

TIMEOUT_S = 60.0

# Said with every failure, so that nobody looks for the mistake on their side only.
_UNTESTED = "; no libedgetpu has been reported to work with ai-edge-litert 2.x: untested, tflite-runtime is the safer choice"

_ROOT = Path(__file__).resolve().parent.parent
_TRY = (
    "import json, sys\n"
    f"sys.path.insert(0, {str(_ROOT)!r})\n"
    "import numpy as np\n"
    "from edge.interpreter import open_interpreter\n"
    "model, library = sys.argv[1:]\n"
    "try:\n"
    "    loaded = open_interpreter(model, delegate=library)\n"
    "    for position, spec in enumerate(loaded.inputs):\n"
    "        loaded.set_input(np.zeros(spec.shape, spec.dtype), position)\n"
    "    loaded.invoke()\n"
    "    print(json.dumps(None))\n"
    "except Exception as error:\n"
    "    print(json.dumps(str(error)))\n"
)


def find_library() -> str:
    """Return the name of the installed libedgetpu, as the loader finds it. Raises InterpreterError with what to install."""
    name = ctypes.util.find_library("edgetpu")
    if name is None:
        raise InterpreterError(
            "libedgetpu is not installed: take libedgetpu1-std for your interpreter from github.com/feranick/libedgetpu;"
            " edgekit doctor says what else the board needs"
        )
    return name


def try_out(model: str | Path, library: str | None = None) -> str:
    """Run the compiled ``model`` once through libedgetpu in another process, and return the library to give as ``delegate``.

    Raises InterpreterError with the reason if it does not run there: so it would take this process down.
    """
    library = find_library() if library is None else library
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TRY, str(Path(model).resolve()), library],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise InterpreterError(f"{model}: no answer from the Edge TPU within {TIMEOUT_S:g} s; unplug and replug it") from error
    if done.returncode != 0:
        how = f"signal {signal.Signals(-done.returncode).name}" if done.returncode < 0 else f"exit code {done.returncode}"
        raise InterpreterError(
            f"{model}: {library} takes the interpreter down ({how}): built for another TensorFlow Lite than {_installed()};"
            f" take the rebuild for that version from github.com/feranick/libedgetpu{_UNTESTED}; edgekit doctor looks at the rest"
        )
    problem = json.loads(done.stdout.strip().splitlines()[-1])
    if problem is not None:
        raise InterpreterError(
            f"{model}: the Edge TPU refuses it through {library}: {problem} (interpreter: {_installed()}){_UNTESTED};"
            " edgekit doctor says whether device, driver and rights are there"
        )
    return library


def _installed() -> str:
    return ", ".join(interpreter.available()) or "none"
