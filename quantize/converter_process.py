"""TensorFlow's converter and quantizer in a process of their own: MLIR ends its process where it meets what it does not expect.

One process serves all calls, as loading TensorFlow takes seconds; after an abort the next call gets a new one.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Sequence
from typing import Any

from edge import child
from edge.child import Child, ChildDiedError, Message, answer_requests
from edge.errors import EdgeError

from .errors import ConversionError

_process = Child("quantize.converter_process", keep_stderr=True)
atexit.register(_process.close)


def run(step: Callable[..., bytes], settings: dict[str, Any], payload: Sequence[bytes] = ()) -> bytes:
    """Return ``step(*payload, **settings)``, a function of `quantize.conversion`, as computed in the other process.

    Raises ConversionError, also where the step ended the process: with the last thing that was said there.
    """
    if child.inside():
        return step(*payload, **settings)
    try:
        answer, made = _process.ask({"step": step.__name__, "settings": settings}, payload)
    except ChildDiedError as died:
        said = died.said.splitlines()[-1][:300] if died.said else "without a word; often too little memory"
        raise ConversionError(
            f"TensorFlow's converter ended its process ({died.how}): {said}; another variant, or --keep-float for the op, may pass"
        ) from died
    if "problem" in answer:
        raise ConversionError(answer["problem"])
    return made[0]


def serve() -> None:
    """Answer requests on stdin until it ends. Runs in the other process only."""
    from . import conversion

    def answer(request: dict[str, Any], payload: list[bytes]) -> Message:
        try:
            return {}, [getattr(conversion, request["step"])(*payload, **request["settings"])]
        except EdgeError as error:
            return {"problem": str(error)}, []

    answer_requests(answer)
