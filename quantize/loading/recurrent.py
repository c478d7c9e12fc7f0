"""Recurrent layers in a form that TFLite has built-in ops for.

Keras 3 writes an LSTM as a loop, which becomes control flow in a .tflite; TFLite has one op for the whole layer
(UNIDIRECTIONAL_SEQUENCE_LSTM, int8 with a 16-bit cell state, or float), and the converter recognises it by a mark on the function
that calculates it. So for conversion every LSTM layer is replaced by one that calls such a function; the other recurrent layers,
and LSTM layers that the op cannot express, are unrolled. ``TimeDistributed(Dense)`` is the dense layer itself on the last axis.
"""

from __future__ import annotations

import uuid
from typing import Any

from .. import tf_private
from ..quiet import import_keras, import_tensorflow, quiet
from . import keras_weights

LSTM_OP = "UNIDIRECTIONAL_SEQUENCE_LSTM"
LAYERS = ("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "TimeDistributed")


def layers(model: Any) -> tuple[str, ...]:
    """Return the names of the recurrent and time-distributed layers of a Keras model, in nested models too."""
    return tuple(layer.name for layer in keras_weights.leaves(model) if type(layer).__name__ in LAYERS)


def convertible(model: Any) -> tuple[Any, tuple[str, ...]]:
    """Return a model that computes the same without loops, with copies of the weights, and notes; the model itself if it has none.

    model: functional or sequential. One of tf_keras is returned as it is: that library marks its functions itself.
    """
    keras = import_keras()
    if not layers(model) or not isinstance(model, keras.Model):
        return model, ()
    fused: list[str] = []
    unrolled: list[str] = []
    fused_lstm = _fused_lstm(keras)
    every_step = _every_step(keras)

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        if isinstance(layer, keras.layers.LSTM) and _is_fusable(config):
            fused.append(layer.name)
            return fused_lstm.from_config(config)
        if isinstance(layer, keras.layers.TimeDistributed) and isinstance(layer.layer, keras.layers.Dense):
            return every_step.from_config({**layer.layer.get_config(), "name": layer.name})
        if type(layer).__name__ in LAYERS and type(layer).__name__ != "TimeDistributed":
            unrolled.append(layer.name)
            return type(layer).from_config(_unrolled(config))
        return type(layer).from_config(config)

    with quiet():
        copy = keras.models.clone_model(model, clone_function=clone, recursive=True)
        copy.set_weights(model.get_weights())
    notes = []
    if fused:
        notes.append(f"LSTM layers {', '.join(fused)} are one {LSTM_OP} op each")
    if unrolled:
        notes.append(f"recurrent layers {', '.join(unrolled)} are unrolled: one group of ops for every time step")
    return copy, tuple(notes)


def _is_fusable(config: dict[str, Any]) -> bool:
    """Whether TFLite's op computes this LSTM: the usual activations, forwards, without state from outside."""
    wanted = {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}
    refused = ("go_backwards", "stateful", "return_state")
    return all(config.get(key) == value for key, value in wanted.items()) and not any(config.get(key) for key in refused)


def _unrolled(config: dict[str, Any]) -> dict[str, Any]:
    changed = dict(config)
    if "unroll" in changed:
        changed["unroll"] = True
    for key in ("layer", "backward_layer"):
        inner = changed.get(key)
        if isinstance(inner, dict) and isinstance(inner.get("config"), dict):
            changed[key] = {**inner, "config": _unrolled(inner["config"])}
    return changed


def _every_step(keras: Any) -> Any:
    """Return the layer class that takes the place of a TimeDistributed dense layer."""

    class EveryStep(keras.layers.Dense):
        """A dense layer that is called as TimeDistributed is."""

        def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            return super().call(inputs)

    return EveryStep


def _fused_lstm(keras: Any) -> Any:
    """Return the layer class; made here because Keras is imported only when it is needed."""
    tf = import_tensorflow()

    def lstm(inputs: Any, hidden: Any, cell: Any, kernel: Any, recurrent_kernel: Any, bias: Any) -> tuple[Any, ...]:
        """The equations of Keras' LSTM; the converter takes them for the op by the function's mark and its arguments."""
        states = []
        for step in tf.unstack(inputs, axis=1):
            gates = tf.matmul(step, kernel) + tf.matmul(hidden, recurrent_kernel) + bias
            enter, forget, candidate, leave = tf.split(gates, 4, axis=1)
            cell = tf.sigmoid(forget) * cell + tf.sigmoid(enter) * tf.tanh(candidate)
            hidden = tf.sigmoid(leave) * tf.tanh(cell)
            states.append(hidden)
        # The order of tf_keras' function: last output, all outputs, both states, and a number for the device.
        return hidden, tf.stack(states, axis=1), hidden, cell, tf.constant(1.0)

    class FusedLSTM(keras.layers.LSTM):
        """An LSTM layer whose inference is one function, marked as tf_keras marks its own."""

        def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
            mark = {
                "api_implements": f"lstm_{uuid.uuid4()}",
                "api_preferred_device": "CPU",
                "go_backwards": False,
                "time_major": False,
            }
            function = tf_private.get("function")(lstm, autograph=False, experimental_attributes=mark)
            zeros = tf.zeros([sequences.shape[0] or tf.shape(sequences)[0], self.units])
            weights = (self.cell.kernel, self.cell.recurrent_kernel, self.cell.bias)
            last, states, *_ = function(sequences, zeros, zeros, *(tf.convert_to_tensor(weight.value) for weight in weights))
            return states if self.return_sequences else last

    return FusedLSTM
