"""A loaded network, ready to be traced: what ``quantize.load`` returns and everything else in this package takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.contract import Contract
from edge.errors import ShapeError

from .errors import LoadError, first_line
from .quiet import import_tensorflow, quiet


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Source:
    """A trained network in inference mode, with the contract of how it is fed and read.

    ``function`` takes a float32 tensor ``(batch, height, width, channels)``, preprocessed, and returns ``{output name: tensor}``
    in the order of ``contract.outputs``. ``model`` is the Keras model behind it, or None for a SavedModel. ``trackables`` are the
    objects that own the variables: a module that is saved with the function must hold them.
    """

    name: str
    contract: Contract
    input_shape: tuple[int, int, int]
    function: Callable[[Any], Mapping[str, Any]]
    trackables: tuple[Any, ...]
    model: Any = None
    notes: tuple[str, ...] = ()
    _traced: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The outputs in the model's order. (TFLite orders a signature's outputs by name.)"""
        return tuple(output.name for output in self.contract.outputs)

    def concrete_function(self) -> Any:
        """Return the traced function of one float32 input, ``input`` of shape ``(1, height, width, channels)``; traced once.

        Raises LoadError when the network cannot be traced at that size.
        """
        if "function" not in self._traced:
            tf = import_tensorflow()
            signature = [tf.TensorSpec([1, *self.input_shape], tf.float32, name="input")]
            with quiet():
                # Without autograph: Keras layers need none, and it takes 25 s for the 780 layers of this network instead of 1.5.
                function = tf.function(self.function, input_signature=signature, autograph=False)
                try:
                    self._traced["function"] = function.get_concrete_function()
                except Exception as error:  # TensorFlow raises many types for a network that it cannot trace
                    size = "x".join(map(str, self.input_shape))
                    raise LoadError(f"{self.name}: cannot be traced at input shape {size}: {first_line(error)}") from error
        return self._traced["function"]

    def predict(self, tensor: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the network's own answer to one preprocessed image, without batch axis: the reference for every variant.

        tensor: float32 ``(1, height, width, channels)``. Raises ShapeError otherwise.
        """
        if tensor.shape != (1, *self.input_shape) or tensor.dtype != np.float32:
            raise ShapeError(f"{self.name} takes float32 {(1, *self.input_shape)}, got {tensor.dtype} {tensor.shape}")
        answers = self.concrete_function()(import_tensorflow().constant(tensor))
        return {name: np.asarray(answers[name].numpy()[0], np.float32) for name in self.output_names}
