"""A network as plain data: the op list on which mapping, memory and latency are predicted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

FLOAT_TYPES = frozenset({"float32", "float16", "bfloat16", "float64"})
EIGHT_BIT = frozenset({"int8", "uint8"})

_BYTES = {"int4": 0.5, "int16": 2, "float16": 2, "bfloat16": 2, "int32": 4, "float32": 4, "int64": 8, "float64": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """One tensor. ``values`` holds the numbers of small integer constants (axes, strides, paddings), else None.

    ``is_open``: the file leaves a size open (an input's batch, mostly), and ``shape`` has 1 there.
    ``is_zero`` says of a constant whether it stands for the real value 0 throughout, and is None where nobody looked.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    is_constant: bool
    is_quantized: bool
    is_open: bool
    values: tuple[int, ...] | None
    is_zero: bool | None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes that the tensor takes: its elements times the size of its type (one byte where the type is unknown)."""
        return math.ceil(self.elements * _BYTES.get(self.dtype, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One op in order of execution. An operand is None where an optional input is absent. ``macs``: multiply-accumulates."""

    index: int
    name: str
    version: int
    inputs: tuple[Operand | None, ...]
    outputs: tuple[Operand, ...]
    options: Mapping[str, int]
    is_custom: bool
    macs: int

    @property
    def operands(self) -> Iterator[Operand]:
        """All operands that are there, inputs first."""
        yield from (operand for operand in self.inputs if operand is not None)
        yield from self.outputs

    @property
    def activations(self) -> tuple[Operand, ...]:
        """The inputs that are computed by the network or fed into it."""
        return tuple(operand for operand in self.inputs if operand is not None and not operand.is_constant)

    @property
    def constants(self) -> tuple[Operand, ...]:
        return tuple(operand for operand in self.inputs if operand is not None and operand.is_constant)

    @property
    def activation_bytes(self) -> int:
        """Bytes of activations that are read and written."""
        return sum(operand.bytes for operand in (*self.activations, *self.outputs))

    @property
    def moved_elements(self) -> int:
        """Elements of activations that are read and written."""
        return sum(operand.elements for operand in (*self.activations, *self.outputs))

    @property
    def is_float(self) -> bool:
        """Whether it computes in float."""
        return any(operand.dtype in FLOAT_TYPES for operand in (*self.activations, *self.outputs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A whole network. ``file_bytes`` is the size of the file that it came from, packed files included."""

    ops: tuple[Op, ...]
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    file_bytes: int

    @property
    def macs(self) -> int:
        return sum(op.macs for op in self.ops)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all constants, each counted once."""
        return sum({operand.index: operand.bytes for op in self.ops for operand in op.constants}.values())

    @property
    def peak_activation_bytes(self) -> int:
        """Most bytes of activations alive at once: a tensor lives from the op that writes it to the last that reads it."""
        last = {operand.index: op.index for op in self.ops for operand in op.activations}
        last.update({operand.index: len(self.ops) for operand in self.outputs})
        alive = {operand.index: operand.bytes for operand in self.inputs}
        peak = 0
        for op in self.ops:
            alive.update({operand.index: operand.bytes for operand in op.outputs})
            peak = max(peak, sum(alive.values()))
            for operand in (*op.activations, *op.outputs):
                if last.get(operand.index, -1) <= op.index:
                    alive.pop(operand.index, None)
        return peak
