"""An interpreter in another process, used like one in this: for kernels that may abort on sound models.

Reference kernels check what they compute with ``TFLITE_CHECK``, which ends the process (untrained MobileNetV2 in int8: an exponent
that the kernel does not expect); so may a delegate on a graph that nobody tried.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artefact.tensors import QuantParams, TensorSpec
from ..errors import EdgeError, InterpreterError
from ..system.child import Child, ChildDiedError, Message, answer_requests
from .interpreter import LoadedInterpreter, RuntimeInfo, open_interpreter


class InterpreterApart:
    """What `LoadedInterpreter` does, in a process of its own; to be closed. A crash is an InterpreterError that names it."""

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        *,
        threads: int | None = None,
        kernels: str = "optimized",
        package: str | None = None,
    ) -> None:
        """As `open_interpreter`. Raises InterpreterError, also where loading the model ends the process."""
        self._what = f"{'the model' if isinstance(model, bytes) else os.fspath(model)}: the {kernels} kernels"
        self._child = Child("edge.runtime.interpreter_apart", keep_stderr=True)
        request = {"threads": threads, "kernels": kernels, "package": package}
        if not isinstance(model, bytes):
            request["path"] = os.path.abspath(model)
        try:
            answer, _ = self._ask(request, [model] if isinstance(model, bytes) else [])
            self.runtime = RuntimeInfo(**answer["runtime"])
            self.inputs = tuple(_spec(plain) for plain in answer["inputs"])
            self.outputs = tuple(_spec(plain) for plain in answer["outputs"])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def run(self, tensors: Iterable[NDArray[Any]]) -> list[NDArray[Any]]:
        """As `LoadedInterpreter.run`. Raises InterpreterError if a kernel fails or ends the process."""
        given = list(tensors)
        described = [{"dtype": array.dtype.str, "shape": array.shape} for array in given]
        answer, payload = self._ask({"inputs": described}, [array.tobytes() for array in given])
        return _arrays(answer["outputs"], payload)

    def _ask(self, request: dict[str, Any], payload: list[bytes]) -> Message:
        try:
            answer, back = self._child.ask(request, payload)
        except ChildDiedError as died:
            said = died.said.splitlines()[-1][:300] if died.said else "they said nothing"
            raise InterpreterError(f"{self._what} end the process ({died.how}): {said}") from died
        if "problem" in answer:
            raise InterpreterError(answer["problem"])
        return answer, back


def serve() -> None:
    """Answer requests on stdin until it ends. Runs in the other process only."""
    loaded: list[LoadedInterpreter] = []

    def answer(request: dict[str, Any], payload: list[bytes]) -> Message:
        try:
            if not loaded:
                loaded.append(_opened(request, payload))
                return {
                    "runtime": loaded[0].runtime.to_dict(),
                    "inputs": [_plain(spec) for spec in loaded[0].inputs],
                    "outputs": [_plain(spec) for spec in loaded[0].outputs],
                }, []
            outputs = loaded[0].run(_arrays(request["inputs"], payload))
        except EdgeError as error:
            return {"problem": str(error)}, []
        described = [{"dtype": array.dtype.str, "shape": array.shape} for array in outputs]
        return {"outputs": described}, [array.tobytes() for array in outputs]

    answer_requests(answer)


def _opened(request: dict[str, Any], payload: list[bytes]) -> LoadedInterpreter:
    settings = {name: request[name] for name in ("threads", "kernels", "package")}
    return open_interpreter(payload[0] if payload else request["path"], **settings)


def _arrays(described: list[dict[str, Any]], payload: list[bytes]) -> list[NDArray[Any]]:
    return [
        np.frombuffer(data, np.dtype(plain["dtype"])).reshape(plain["shape"])
        for plain, data in zip(described, payload, strict=True)
    ]


def _plain(spec: TensorSpec) -> dict[str, Any]:
    quant = spec.quant
    return {
        "name": spec.name,
        "index": spec.index,
        "shape": spec.shape,
        "dtype": spec.dtype.str,
        "quant": None
        if quant is None
        else {**dataclasses.asdict(quant), "scale": quant.scale.tolist(), "zero_point": quant.zero_point.tolist()},
    }


def _spec(plain: dict[str, Any]) -> TensorSpec:
    quant = plain["quant"]
    if quant is not None:
        scale, zero_point = np.array(quant["scale"], np.float32), np.array(quant["zero_point"], np.int32)
        quant = QuantParams(scale=scale, zero_point=zero_point, quantized_dimension=quant["quantized_dimension"])
    return TensorSpec(
        name=plain["name"], index=plain["index"], shape=tuple(plain["shape"]), dtype=np.dtype(plain["dtype"]), quant=quant
    )
