"""Between frames and a model: how many it sees at once, what else it wants, and its answers as numbers by name."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artefact.contract import Contract
from ..errors import ContractError, UsageError
from ..runtime.model import Model
from ..runtime.preprocess import Sources
from .frame import Frame

Extra = Callable[[], Mapping[str, Any]]
Predict = Callable[[Sequence[Frame]], Mapping[str, float]]


def predictor(model: Model, *, extra: Extra | None = None) -> Predict:
    """Return a function from the newest frames to the values of the model's regression outputs, by name: for `edge.live.drive.drive`.

    extra: called for each answer, returns what the model takes beside the picture (its ``contract.extra_inputs``) by name. The
    model is run once here, because its first run takes many times as long as the others.

    Raises ContractError for a model without regression outputs or one whose extra inputs nobody gives.
    """
    wanted = [spec.name for spec in model.contract.extra_inputs]
    if wanted and extra is None:
        raise ContractError(f"{model.path}: it takes {', '.join(wanted)} beside the picture; give a function that returns them")
    if not any(spec.kind == "regression" for spec in model.contract.outputs):
        kinds = ", ".join(f"{spec.name} ({spec.kind})" for spec in model.contract.outputs)
        raise ContractError(f"{model.path}: it has no regression output to drive with, only {kinds}")

    def predict(frames: Sequence[Frame]) -> Mapping[str, float]:
        values = {} if extra is None else extra()
        given = (pictures_of(model.contract, frames),) if model.contract.input.frames else ()
        return numbers_of(model.contract, model.predict(*given, **values))

    predict(grey_frames(model.contract))
    return predict


class History:
    """The last ``steps`` values of some signals, for models that take them: ``history["speed"]`` is float32 ``(steps,)``.

    The oldest comes first; before the first values it is filled with ``fill``. One `add` per command: a model that learnt from
    every frame of a recording sees time pass faster when frames are dropped.
    """

    def __init__(self, steps: int, signals: Sequence[str], *, fill: float = 0.0) -> None:
        if steps < 1:
            raise UsageError(f"a history of {steps} steps, expected 1 or more")
        self._turn = threading.Lock()  # the watchdog may add while the loop reads
        self._values = {signal: deque([fill] * steps, maxlen=steps) for signal in signals}

    def add(self, values: Mapping[str, float]) -> None:
        """Append a value for each signal; other names in ``values`` are ignored. Raises UsageError for one that lacks."""
        missing = [signal for signal in self._values if signal not in values]
        if missing:
            raise UsageError(f"the history needs {', '.join(missing)} too")
        with self._turn:
            for signal, kept in self._values.items():
                kept.append(float(values[signal]))

    def __getitem__(self, signal: str) -> NDArray[np.float32]:
        with self._turn:
            return np.array(self._values[signal], np.float32)


def window_of(contract: Contract) -> int:
    """Return how many frames the model sees at once, at least 1."""
    return max(1, contract.input.frames)


def pictures_of(contract: Contract, frames: Sequence[Frame]) -> Sources:
    """Return what `Model.predict` takes: the newest frame's pixels, or a list of all for a model that sees several."""
    pixels = [frame.pixels for frame in frames if frame.pixels is not None]
    return pixels if contract.input.frames > 1 else pixels[-1]


def grey_frames(contract: Contract) -> tuple[Frame, ...]:
    """Return a window of grey frames: something to run a model on before there is a frame."""
    pixels = np.full((contract.input.height, contract.input.width, 3), 127, np.uint8)
    return (Frame(index=0, captured_at=0.0, pixels=pixels),) * window_of(contract)


def warm_up(model: Model) -> None:
    """Run the model once on a grey picture: the first run takes many times as long as the others."""
    model.predict(pictures_of(model.contract, grey_frames(model.contract)))


def numbers_of(contract: Contract, values: Mapping[str, NDArray[np.float32]]) -> dict[str, float]:
    """Return the values of all regression outputs by name; those of an output with several values by its labels, or as
    ``name[0]``, ``name[1]``, ...
    """
    numbers: dict[str, float] = {}
    for spec in contract.outputs:
        if spec.kind != "regression":
            continue
        flat = values[spec.name].reshape(-1)
        if len(spec.labels) == flat.size > 0:
            names = spec.labels
        else:
            names = (spec.name,) if flat.size == 1 else tuple(f"{spec.name}[{i}]" for i in range(flat.size))
        numbers |= {name: float(value) for name, value in zip(names, flat, strict=True)}
    return numbers
