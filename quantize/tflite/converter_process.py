"""TensorFlow's converter, calibrator and quantizer in a process of their own: MLIR ends its process where it meets what it does not expect.

One process serves all calls, as loading TensorFlow takes seconds; after an abort the next call gets a new one.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from edge import files
from edge.errors import EdgeError, OutputError
from edge.runtime.model import Feed
from edge.system import child
from edge.system.child import Child, ChildDiedError, Message, answer_requests

from ..errors import ConversionError

_numbers = itertools.count()
_process = Child("quantize.tflite.conversion", keep_stderr=True)
atexit.register(_process.close)


def run(step: Callable[..., bytes], settings: dict[str, Any], payload: Sequence[bytes] = ()) -> bytes:
    """Return ``step(*payload, **settings)``, a function of `quantize.tflite.conversion`, as computed in the other process.

    Raises ConversionError, also where the step ended the process: with the last thing that was said there.
    """
    if child.inside():
        return step(*payload, **settings)
    return _ask({"step": step.__name__, "settings": settings}, payload)[0]


def calibrate(step: Callable[[bytes, Iterable[Feed]], bytes], flatbuffer: bytes, tensors: Iterable[Feed]) -> bytes:
    """Return ``step(flatbuffer, tensors)``, a function of `quantize.tflite.conversion`, as computed in the other process.

    The tensors go there one by one, as they come. Raises ConversionError as `run` does.
    """
    if child.inside():
        return step(flatbuffer, tensors)
    number = next(_numbers)
    _ask({"calibration": number, "part": "begin", "step": step.__name__}, [flatbuffer])
    try:
        for tensor in tensors:
            arrays = tensor if isinstance(tensor, tuple) else (tensor,)
            described = [{"dtype": array.dtype.str, "shape": array.shape} for array in arrays]
            _ask({"calibration": number, "part": "feed", "arrays": described}, [array.tobytes() for array in arrays])
    except ConversionError:
        raise
    except BaseException:  # of whoever gives the tensors
        with contextlib.suppress(ConversionError):
            _ask({"calibration": number, "part": "drop"})
        raise
    return _ask({"calibration": number, "part": "end"})[0]


def _ask(request: dict[str, Any], payload: Sequence[bytes] = ()) -> list[bytes]:
    try:
        answer, made = _process.ask(request, payload)
    except ChildDiedError as died:
        said = died.said.splitlines()[-1][:300] if died.said else "without a word; often too little memory"
        raise ConversionError(
            f"TensorFlow's converter ended its process ({died.how}): {said}; another variant, or --keep-float for the op, may pass"
        ) from died
    if "full" in answer:
        raise OutputError(answer["full"])
    if "problem" in answer:
        raise ConversionError(answer["problem"])
    return made


class _Calibration:
    """A calibrator that draws its images, at work in a thread that waits for them. In the other process only."""

    def __init__(self, step: Callable[[bytes, Iterable[Feed]], bytes], flatbuffer: bytes) -> None:
        self._images: queue.Queue[Feed | None] = queue.Queue(maxsize=1)
        self._made: bytes | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, args=(step, flatbuffer), daemon=True)
        self._thread.start()

    def feed(self, image: Feed | None) -> None:
        """Hand over an image, None after the last. Raises what the calibrator raised."""
        while self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._images.put(image, timeout=0.1)
                return
        if self._error is not None:
            raise self._error

    def end(self) -> bytes:
        """Return the calibrated flatbuffer."""
        self.feed(None)
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._made is not None
        return self._made

    def _work(self, step: Callable[[bytes, Iterable[Feed]], bytes], flatbuffer: bytes) -> None:
        def images() -> Iterator[Feed]:
            while (image := self._images.get()) is not None:
                yield image

        try:
            self._made = step(flatbuffer, images())
        except Exception as error:  # handed to whoever feeds
            self._error = error


def serve(*steps: Callable[..., bytes]) -> None:
    """Answer requests for ``steps`` on stdin until it ends. Runs in the other process only."""
    known = {step.__name__: step for step in steps}
    calibrations: dict[int, _Calibration] = {}

    def calibration(request: dict[str, Any], payload: list[bytes]) -> list[bytes]:
        number, part = request["calibration"], request["part"]
        if part == "begin":
            calibrations[number] = _Calibration(known[request["step"]], payload[0])
            return []
        if number not in calibrations:
            raise ConversionError(
                "the calibration is lost, as another conversion ended TensorFlow's process meanwhile; run it again"
            )
        if part == "feed":
            plain = zip(payload, request["arrays"], strict=True)
            arrays = tuple(np.frombuffer(data, each["dtype"]).reshape(each["shape"]) for data, each in plain)
            calibrations[number].feed(arrays)
            return []
        at_work = calibrations.pop(number)
        if part == "drop":
            at_work.feed(None)
            return []
        return [at_work.end()]

    def answer(request: dict[str, Any], payload: list[bytes]) -> Message:
        try:
            if "calibration" in request:
                return {}, calibration(request, payload)
            return {}, [known[request["step"]](*payload, **request["settings"])]
        except EdgeError as error:
            return {"problem": str(error)}, []
        except Exception as error:
            if files.is_full(error):
                return {"full": str(files.full(error))}, []
            if not isinstance(error, RuntimeError | ValueError):
                raise
            # What the calibrator raises for shapes that do not fit.
            return {"problem": f"TensorFlow's calibrator refused the network or an image: {str(error).splitlines()[0][:300]}"}, []

    answer_requests(answer)
