"""A loaded network, ready to be traced: what ``quantize.load`` returns and everything else in this package takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.artefact.contract import Contract
from edge.errors import ShapeError
from edge.runtime.model import Feed

from ..errors import LoadError, first_line
from ..quiet import import_tensorflow, quiet
from .io_specs import PICTURE


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Source:
    """A trained network in inference mode, with the contract of how it is fed and read.

    ``function`` takes a float32 tensor ``(batch, height, width, channels)``, preprocessed, and one of each of
    ``contract.extra_inputs``, and returns ``{output name: tensor}`` in the order of ``contract.outputs``. ``model`` is the Keras
    model behind it, or None for a SavedModel. ``trackables`` are the objects that own the variables: a module that is saved with the
    function must hold them.
    """

    name: str
    contract: Contract
    input_shape: tuple[int, int, int]
    function: Callable[..., Mapping[str, Any]]
    trackables: tuple[Any, ...]
    model: Any = None
    notes: tuple[str, ...] = ()
    _traced: dict[str, Any] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        shape, gives = "x".join(map(str, self.input_shape)), ", ".join(f"{o.name} ({o.kind})" for o in self.contract.outputs)
        return f"<Source {self.name}: {self.contract.source.architecture}, {shape} -> {gives}>"

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs in the model's order. (TFLite orders a signature's outputs by name.)"""
        return tuple(output.name for output in self.contract.outputs)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The inputs by the names that they have in a file: the picture's, where there is one, then the others."""
        picture = (PICTURE,) if self.contract.input.frames else ()
        return (*picture, *(extra.name for extra in self.contract.extra_inputs))

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of `input_names`, without batch axis."""
        picture: tuple[tuple[int, ...], ...] = (self.input_shape,) if self.contract.input.frames else ()
        return (*picture, *(extra.shape for extra in self.contract.extra_inputs))

    def concrete_function(self) -> Any:
        """Return the traced function of float32 inputs, ``input`` of shape ``(1, height, width, channels)``; traced once.

        Raises LoadError when the network cannot be traced at that size.
        """
        if "function" not in self._traced:
            tf = import_tensorflow()
            named = zip(self.input_names, self.input_shapes, strict=True)
            signature = [tf.TensorSpec([1, *shape], tf.float32, name=name) for name, shape in named]
            with quiet():
                # Without autograph: Keras layers need none, and it takes 25 s for the 780 layers of this network instead of 1.5.
                function = tf.function(self.function, input_signature=signature, autograph=False)
                try:
                    self._traced["function"] = function.get_concrete_function()
                except Exception as error:  # TensorFlow raises many types for a network that it cannot trace
                    size = "x".join(map(str, self.input_shape))
                    raise LoadError(f"{self.name}: cannot be traced at input shape {size}: {first_line(error)}") from error
        return self._traced["function"]

    def require_one_picture(self, what: str) -> None:
        """Raise LoadError where the network takes stacked frames or more than a picture, which ``what`` cannot do."""
        if self.contract.extra_inputs or self.contract.input.frames != 1:
            raise LoadError(
                f"{self.name}: {what} takes networks of one picture; this one takes {', '.join(self.input_names)}"
                f" with {self.contract.input.frames} frames: use post-training quantization (edgekit quantize)"
            )

    def predict(self, tensor: Feed) -> dict[str, NDArray[np.float32]]:
        """Return the network's own answer to one preprocessed image, without batch axis: the reference for every variant.

        tensor: float32 ``(1, height, width, channels)``, or a tuple with one for each input. Raises ShapeError otherwise.
        """
        tensors = tensor if isinstance(tensor, tuple) else (tensor,)
        expected = [(1, *shape) for shape in self.input_shapes]
        if [each.shape for each in tensors] != expected or any(each.dtype != np.float32 for each in tensors):
            given = ", ".join(f"{each.dtype} {each.shape}" for each in tensors)
            raise ShapeError(f"{self.name} takes float32 {', '.join(map(str, expected))}, got {given}")
        answers = self.concrete_function()(*map(import_tensorflow().constant, tensors))
        return {name: np.asarray(answers[name].numpy()[0], np.float32) for name in self.output_names}
