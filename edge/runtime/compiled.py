"""LiteRT's compiled models, through the C functions of ``libLiteRt.so``: the only way to XNNPACK's weight cache.

ai-edge-litert's own ``CompiledModel`` holds Python's lock while it runs, so that no camera, watchdog or second worker would go on.
Called through ctypes, the same library lets go of it. What is used are functions that it exports with a version (``VERS_1.0``), and
three structures that its headers call stable (``litert/c/litert_layout.h``, ``litert_model_types.h``). Should a release change them all
the same, another process finds out: `edge.runtime.weight_cache` lets only that in which answered there as the interpreter does.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_Pointer, _Size, _Int, _Text = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_char_p
_CPU = 1  # LiteRtHwAccelerators
_READ, _WRITE = 0, 1  # LiteRtTensorBufferLockMode
_PER_TENSOR, _PER_CHANNEL = 1, 2  # LiteRtQuantizationTypeId
_OPTIONS = b"xnnpack"  # the name under which the CPU reads its options: lines of TOML
_RUNTIME_OPTIONS = b"runtime_options_string"  # the same for all accelerators
_SIGNATURE = _Size(0)

# LiteRtElementType, as far as numpy has it.
_DTYPES = {
    **{1: "float32", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8", 10: "float16", 11: "float64"},
    **{13: "uint64", 16: "uint32", 17: "uint16"},
}


class _Layout(ctypes.Structure):
    _fields_ = [("rank", ctypes.c_uint32), ("dimensions", ctypes.c_int32 * 8), ("strides", ctypes.c_uint32 * 8)]


class _TensorType(ctypes.Structure):
    _fields_ = [("element", _Int), ("layout", _Layout)]


class _PerTensor(ctypes.Structure):
    _fields_ = [("scale", ctypes.c_float), ("zero_point", ctypes.c_int64)]


class _PerChannel(ctypes.Structure):
    _fields_ = [
        ("axis", ctypes.c_int32),
        ("count", ctypes.c_uint64),
        ("scales", ctypes.POINTER(ctypes.c_float)),
        ("zero_points", ctypes.POINTER(ctypes.c_int64)),
    ]


class _Place(NamedTuple):
    """An input or output: what the interpreter says of it, and the buffer that it has here."""

    details: dict[str, Any]
    buffer: ctypes.c_void_p
    bytes: int


@functools.cache
def _library(path: str) -> ctypes.CDLL:
    library = ctypes.CDLL(path)
    for name in ("Model", "CompiledModel", "Options", "TensorBuffer"):
        getattr(library, f"LiteRtDestroy{name}").restype = None
    return library


@functools.cache
def _environment(path: str) -> ctypes.c_void_p:
    """Return the environment that all models of this process share. It is never given back: that would be said on stderr."""
    environment = _Pointer()
    if status := _library(path).LiteRtCreateEnvironment(_Int(0), None, ctypes.byref(environment)):
        raise RuntimeError(f"LiteRtCreateEnvironment fails with status {status}")
    return environment


class CompiledNative:
    """What `LoadedInterpreter` asks of an interpreter, of a compiled model with one signature. One thread at a time.

    Everything that a model needs is opened here and given back when the object goes.
    """

    def __init__(self, library: str, model: str, threads: int, cache: int | str | None, *, profiled: bool = False) -> None:
        """cache: a file to be made, or the open descriptor of one that is there. profiled: for `edge.runtime.profiler`.

        Raises RuntimeError where a function fails, AttributeError where the library has no such function.
        """
        self._library = _library(library)
        self._held: list[tuple[str, ctypes.c_void_p]] = []
        self._done = weakref.finalize(self, _destroy, self._library, self._held)
        self._done.atexit = False  # a daemon thread may be running it still
        self._environment = _environment(library)
        native = self._made("Model", "LiteRtCreateModelFromFile", self._environment, os.fsencode(model))
        count = _Size()
        self._call("LiteRtGetNumModelSignatures", native, ctypes.byref(count))
        if count.value != 1:
            raise RuntimeError(f"it has {count.value} signatures, expected one")
        options = self._made("Options", "LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _Int(_CPU))
        self._add_options(options, _OPTIONS, f"num_threads = {threads}\n{_cache_option(cache)}")
        if profiled:
            self._add_options(options, _RUNTIME_OPTIONS, "enable_profiling = true\n")
        self._compiled = self._made("CompiledModel", "LiteRtCreateCompiledModel", self._environment, native, options)
        signature = _Pointer()
        self._call("LiteRtGetModelSignature", native, _SIGNATURE, ctypes.byref(signature))
        inputs, outputs = (list(self._places(signature, kind)) for kind in ("Input", "Output"))
        self._inputs, self._outputs = self._ordered(signature, "Input", inputs), self._ordered(signature, "Output", outputs)
        self._run_arguments = tuple(
            argument
            for places in (inputs, outputs)
            for argument in (_Size(len(places)), (_Pointer * len(places))(*(place.buffer for place in places)))
        )

    def close(self) -> None:
        """Give everything back now."""
        self._done()

    def get_input_details(self) -> list[dict[str, Any]]:
        """Return what ``Interpreter.get_input_details`` returns, as far as edgekit reads it."""
        return [place.details for place in self._inputs.values()]

    def get_output_details(self) -> list[dict[str, Any]]:
        """Return the same of the outputs."""
        return [place.details for place in self._outputs.values()]

    def set_tensor(self, index: int, array: NDArray[Any]) -> None:
        """Copy ``array``, which has the input's shape and dtype, into the input."""
        place, array = self._inputs[index], np.ascontiguousarray(array)
        with _Locked(self, place.buffer, _WRITE) as address:
            ctypes.memmove(address, array.ctypes.data, min(array.nbytes, place.bytes))

    def get_tensor(self, index: int) -> NDArray[Any]:
        """Return a copy of an output."""
        place = self._outputs[index]
        array: NDArray[Any] = np.empty(place.details["shape"], place.details["dtype"])
        with _Locked(self, place.buffer, _READ) as address:
            ctypes.memmove(array.ctypes.data, address, min(array.nbytes, place.bytes))
        return array

    def reset_all_variables(self) -> None:
        """Do nothing: models that remember anything between two runs are not opened this way."""

    def invoke(self) -> None:
        """Run the model; Python's lock is free meanwhile. Raises RuntimeError."""
        self._call("LiteRtRunCompiledModel", self._compiled, _SIGNATURE, *self._run_arguments)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the library. Raises RuntimeError if it says that it failed."""
        self._call(name, *arguments)

    def _call(self, name: str, *arguments: Any) -> None:
        if status := getattr(self._library, name)(*arguments):
            raise RuntimeError(f"{name} fails with status {status}")

    def _made(self, kind: str, function: str, *arguments: Any) -> ctypes.c_void_p:
        made = _Pointer()
        self._call(function, *arguments, ctypes.byref(made))
        self._held.append((kind, made))
        return made

    def _add_options(self, options: ctypes.c_void_p, reader: bytes, text: str) -> None:
        c = ctypes.CDLL(None)
        c.strdup.restype = _Pointer
        opaque, copy = _Pointer(), _Pointer(c.strdup(text.encode()))
        self._call("LiteRtCreateOpaqueOptions", reader, copy, ctypes.cast(c.free, _Pointer), ctypes.byref(opaque))
        self._call("LiteRtAddOpaqueOptions", options, opaque)

    def _places(self, signature: ctypes.c_void_p, kind: str) -> Iterator[_Place]:
        count = _Size()
        self._call(f"LiteRtGetNumSignature{kind}s", signature, ctypes.byref(count))
        for position in map(_Size, range(count.value)):
            tensor, needs, type_, bytes_ = _Pointer(), _Pointer(), _TensorType(), _Size()
            self._call(f"LiteRtGetSignature{kind}TensorByIndex", signature, position, ctypes.byref(tensor))
            self._call("LiteRtGetRankedTensorType", tensor, ctypes.byref(type_))
            function = f"LiteRtGetCompiledModel{kind}BufferRequirements"
            self._call(function, self._compiled, _SIGNATURE, position, ctypes.byref(needs))
            create = "LiteRtCreateManagedTensorBufferFromRequirements"
            buffer = self._made("TensorBuffer", create, self._environment, ctypes.byref(type_), needs)
            self._call("LiteRtGetTensorBufferPackedSize", buffer, ctypes.byref(bytes_))
            details = self._details(tensor, type_)
            if bytes_.value != math.prod(details["shape"]) * details["dtype"].itemsize:
                raise RuntimeError(f"tensor {details['name']!r} has {bytes_.value} bytes, which is not its shape")
            yield _Place(details, buffer, bytes_.value)

    def _ordered(self, signature: ctypes.c_void_p, kind: str, places: list[_Place]) -> dict[int, _Place]:
        """Return the places by tensor index, in the order of the file: signatures have another."""
        subgraph, count = _Pointer(), _Size()
        self._call("LiteRtGetSignatureSubgraph", signature, ctypes.byref(subgraph))
        self._call(f"LiteRtGetNumSubgraph{kind}s", subgraph, ctypes.byref(count))
        by_index = {place.details["index"]: place for place in places}
        found = {}
        for position in map(_Size, range(count.value)):
            tensor, index = _Pointer(), ctypes.c_uint32()
            self._call(f"LiteRtGetSubgraph{kind}", subgraph, position, ctypes.byref(tensor))
            self._call("LiteRtGetTensorIndex", tensor, ctypes.byref(index))
            if index.value in by_index:
                found[index.value] = by_index[index.value]
        if not len(found) == len(places) == count.value:
            raise RuntimeError(f"its signature has other {kind.lower()}s than its graph")
        return found

    def _details(self, tensor: ctypes.c_void_p, type_: _TensorType) -> dict[str, Any]:
        name, index = _Text(), ctypes.c_uint32()
        self._call("LiteRtGetTensorName", tensor, ctypes.byref(name))
        self._call("LiteRtGetTensorIndex", tensor, ctypes.byref(index))
        if type_.element not in _DTYPES:
            raise RuntimeError(f"tensor {index.value} has element type {type_.element}, which numpy lacks")
        shape = tuple(type_.layout.dimensions[: type_.layout.rank & 0x7F])  # the eighth bit says whether there are strides
        if min(shape, default=1) < 1:
            raise RuntimeError(f"tensor {index.value} has the open shape {shape}")
        return {
            "name": (name.value or b"").decode(),
            "index": index.value,
            "shape": shape,
            "dtype": np.dtype(_DTYPES[type_.element]),
            "quantization_parameters": self._quantization(tensor),
        }

    def _quantization(self, tensor: ctypes.c_void_p) -> dict[str, Any]:
        kind = _Int()
        self._call("LiteRtGetQuantizationTypeId", tensor, ctypes.byref(kind))
        scales: list[float] = []
        zero_points: list[int] = []
        axis = 0
        if kind.value == _PER_TENSOR:
            one = _PerTensor()
            self._call("LiteRtGetPerTensorQuantization", tensor, ctypes.byref(one))
            scales, zero_points = [one.scale], [one.zero_point]
        elif kind.value == _PER_CHANNEL:
            many = _PerChannel()
            self._call("LiteRtGetPerChannelQuantization", tensor, ctypes.byref(many))
            scales, zero_points, axis = many.scales[: many.count], many.zero_points[: many.count], many.axis
        elif kind.value:
            raise RuntimeError(f"a tensor is quantized in way {kind.value}, which is unknown")
        return {"scales": scales, "zero_points": zero_points, "quantized_dimension": axis}


class _Locked:
    """A tensor buffer's memory, mapped for reading or writing."""

    def __init__(self, native: CompiledNative, buffer: ctypes.c_void_p, mode: int) -> None:
        self._native, self._buffer, self._mode = native, buffer, mode

    def __enter__(self) -> int:
        address = _Pointer()
        self._native.call("LiteRtLockTensorBuffer", self._buffer, ctypes.byref(address), _Int(self._mode))
        if not address.value:
            raise RuntimeError("a tensor buffer has no memory")
        return address.value

    def __exit__(self, *_: object) -> None:
        self._native.call("LiteRtUnlockTensorBuffer", self._buffer)


def _cache_option(cache: int | str | None) -> str:
    if cache is None:
        return ""
    # A descriptor is handed over: the library closes it with the model.
    named = f'path = "{cache}"' if isinstance(cache, str) else f"descriptor = {os.dup(cache)}"
    return f"weight_cache_file_{named}\n"


def _destroy(library: ctypes.CDLL, held: list[tuple[str, ctypes.c_void_p]]) -> None:
    while held:
        kind, handle = held.pop()
        getattr(library, f"LiteRtDestroy{kind}")(handle)
