"""A model on this machine: picture in, answers out.

model = edge.load("flowers.int8.tflite")
model.classify("rose.jpg").top(3)
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..artefact import tensors
from ..artefact.container import Container
from ..artefact.contract import Contract, OutputSpec
from ..artefact.tensors import TensorSpec
from ..errors import ContractError, ShapeError
from . import preprocess
from .classify import Classifications, rank
from .interpreter import LoadedInterpreter, RuntimeInfo
from .preprocess import Sources

if TYPE_CHECKING:
    from pathlib import Path

Feed = NDArray[Any] | tuple[NDArray[Any], ...]
"""An input tensor, or all of them in the order of the file."""


class Model:
    """A loaded model. Safe to share between threads; they take turns, so give each its own for speed.

    ``contract`` says how it is fed and read, ``runtime`` what runs it, ``input`` and ``outputs`` are the tensors (outputs in the
    order of the contract's). ``note`` is what the user may want to mend, or None.
    """

    def __init__(self, source: Container, contract: Contract, loaded: LoadedInterpreter, *, note: str | None = None) -> None:
        self.container = source
        self.contract = contract
        self.note = note
        self.runtime: RuntimeInfo = loaded.runtime
        self.inputs: tuple[TensorSpec, ...] = loaded.inputs
        self.input: TensorSpec = loaded.inputs[0]
        self.outputs: tuple[TensorSpec, ...] = loaded.outputs
        self._loaded = loaded
        self._lock = threading.Lock()
        if contract.input.frames:
            self._table = preprocess.lookup_table(contract.input, self.input)
        if contract.extra_inputs:
            self._check_names()

    @property
    def path(self) -> Path:
        return self.container.path

    def __repr__(self) -> str:
        fed = self.contract.input
        takes = f"{fed.width}x{fed.height} {fed.color}" if fed.frames else "no picture"
        gives = ", ".join(f"{output.name}: {len(output.labels) or output.kind}" for output in self.contract.outputs)
        return f"<Model {self.path.name}: {takes} -> {gives}; {self.runtime.describe()}>"

    @property
    def sha256(self) -> str:
        """SHA-256 of the whole file: the artefact's identity."""
        return self.container.sha256

    @property
    def arithmetic(self) -> str:
        """How the model computes: ``integer``, ``dynamic`` or ``float`` (see `edge.artefact.graph_facts.arithmetic`)."""
        from ..artefact import graph_facts  # with the graph 16 ms of processor time, median of 10 fresh processes

        return graph_facts.arithmetic(self.container.graph)

    def preprocess(self, source: Sources) -> NDArray[Any]:
        """Return the input tensor ``(1, H, W, C)`` in the model's dtype for a picture. Raises ImageError.

        A model that takes several frames takes a list of pictures here, the oldest first.
        """
        return preprocess.to_tensor(preprocess.load_pixels(source, self.contract.input), self._table)

    def feed(self, source: Sources | Mapping[str, Any] | None = None, **values: Any) -> Feed:
        """Return what `invoke` takes: the picture's tensor, or all input tensors of a model that has several inputs.

        ``model.feed(photo, speed=[...])`` or ``model.feed({"image": photo, "speed": [...]})``. Raises ImageError, and ShapeError for
        an input that lacks or is too much.
        """
        contract = self.contract
        if not contract.extra_inputs and not values and not isinstance(source, Mapping):
            return self.preprocess(source)  # type: ignore[arg-type]  # a picture, as there is nothing else
        from . import extra_inputs  # 23 ms of processor time, median of 10 fresh processes; most models have none

        picture, given = extra_inputs.split(contract, source, values)
        image = () if picture is None else (self.preprocess(picture),)
        specs = self.inputs[len(image) :]
        extra = zip(contract.extra_inputs, specs, strict=True)
        return (*image, *(extra_inputs.to_tensor(spec, given[spec.name], tensor) for spec, tensor in extra))

    def invoke(self, tensor: Feed) -> dict[str, NDArray[Any]]:
        """Run the model on an input tensor and return each output by name as the file gives it (quantized, no batch axis).

        A model with several inputs takes a tuple, in the order of ``inputs``. Raises ShapeError if a tensor has another shape or
        dtype than its input.
        """
        with self._lock:
            raw = self._loaded.run(self._all_inputs(tensor) if isinstance(tensor, tuple) else (tensor,))
        return {spec.name: _without_batch(array) for spec, array in zip(self.contract.outputs, raw, strict=True)}

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[LoadedInterpreter]:
        """Give out the interpreter itself, to one thread at a time (for timing single runs)."""
        with self._lock:
            yield self._loaded

    def dequantize(self, raw: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Return the real values of what `invoke` returned, as float32, by each tensor's own scale and zero point."""
        specs = {output.name: tensor for output, tensor in zip(self.contract.outputs, self.outputs, strict=True)}
        return {name: _real(array, specs[name]) for name, array in raw.items()}

    def predict(self, source: Sources | Mapping[str, Any] | None = None, **values: Any) -> dict[str, NDArray[np.float32]]:
        """Return each output by name as float32 without batch axis, as the model gives it (no softmax is added).

        source: a picture; a list of pictures for stacked frames; with extra inputs also their values (see `feed`).
        """
        return self.dequantize(self.invoke(self.feed(source, **values)))

    def classify(
        self, source: Sources | Mapping[str, Any] | None = None, *, output: str | None = None, **values: Any
    ) -> Classifications:
        """Return the classes of a picture, the most probable first: ``model.classify("rose.jpg").top(3)``.

        source, values: as `predict` takes them. output: the name of the output to read; default the first that has classes. Logits
        go through a softmax. The background class is never among the answers. Raises ContractError if the model has no such output.
        """
        spec = self.class_output(output)
        return rank(self.predict(source, **values)[spec.name], spec)

    def _all_inputs(self, given: tuple[NDArray[Any], ...]) -> tuple[NDArray[Any], ...]:
        if len(given) != len(self.inputs):
            names = ", ".join(spec.name for spec in self.inputs)
            raise ShapeError(f"{self.path}: it takes {len(self.inputs)} tensors ({names}), got {len(given)}")
        return given

    def _check_names(self) -> None:
        names = [extra.name for extra in self.contract.extra_inputs]
        found = [spec.name for spec in self.inputs[-len(names) :]]
        if names != found:  # equal shapes would hide a change of order
            raise ContractError(f"{self.path}: its last inputs are called {found}, its contract says {names}; make it again")

    def class_output(self, name: str | None = None) -> OutputSpec:
        """Return the output ``name``, default the first that has classes. Raises ContractError if there is no such output."""
        candidates = [o for o in self.contract.outputs if o.is_classes or o.kind == "multilabel"]
        for spec in candidates:
            if name is None or spec.name == name:
                return spec
        kinds = ", ".join(f"{o.name} ({o.kind})" for o in self.contract.outputs)
        wanted = "output with classes" if name is None else f"output {name!r} with classes"
        raise ContractError(f"{self.path}: it has no {wanted}, only {kinds}; use predict()")


def _without_batch(array: NDArray[Any]) -> NDArray[Any]:
    return array[0] if array.ndim > 1 and array.shape[0] == 1 else array


def _real(array: NDArray[Any], tensor: TensorSpec) -> NDArray[np.float32]:
    if tensor.quant is not None and np.issubdtype(array.dtype, np.integer):
        return tensors.dequantize(array, tensor.quant)
    return array.astype(np.float32, copy=False)
