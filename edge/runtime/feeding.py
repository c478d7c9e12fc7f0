"""Whether the values that pictures become fit the input of a model that somebody else made, and the line that says how it is fed.

A quantized input holds a range of real values. A recipe of another range is no error to the interpreter: pixels saturate, or
all fall onto a few levels, and the answers are nonsense. The table of 256 entries per channel shows it before any picture does.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..artefact.contract import InputSpec
from ..artefact.tensors import TensorSpec, dequantize
from ..artefact.vocabulary import RECIPES
from ..errors import ContractError, ShapeError
from . import preprocess

if TYPE_CHECKING:
    from ..artefact.graph import Tensor

# Shares of the table's entries. Rounding at the ends of a fitting range saturates one or two of 256; a calibrated range cuts off
# a few per cent at most.
MOST_SATURATED = 0.1
LEAST_USED = 0.1  # of the range: below, ten neighbouring pixel values become one
ITS_CONTRACT = "its contract says so"
_DOUBTFUL_USED = 0.75  # of the range: below, another recipe probably fits better
_INTEGERS = frozenset({"int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeding:
    """How a model is fed. ``why``: who says so. ``doubt``: what speaks against it; ``misfit``: it cannot be meant like that."""

    spec: InputSpec
    why: str
    values: str
    doubt: str = ""
    misfit: bool = False

    def to_text(self) -> str:
        """Return it as one line."""
        spec = self.spec
        detail = ("" if spec.antialias else ", no antialias") + (
            "" if spec.crop_fraction == 1 else f", crop {spec.crop_fraction:g}"
        )
        how = f"{spec.width}x{spec.height} {spec.color}, {spec.fit}, {spec.resample}{detail}, {self.values}; {self.why}"
        return f"{how}; {self.doubt}" if self.doubt else how


def runtime_tensor(tensor: Tensor) -> TensorSpec:
    """Return a tensor of the graph as the interpreter would name it."""
    return TensorSpec(name=tensor.name, index=tensor.index, shape=tensor.shape, dtype=np.dtype(tensor.dtype), quant=tensor.quant)


def as_bytes(tensor: Tensor) -> tuple[float, float] | None:
    """Return the mean and scale that write pixels into a uint8 tensor as they are, None for any other tensor."""
    if tensor.dtype != "uint8":
        return None
    if tensor.quant is None:
        return RECIPES["raw"]
    return _levels(runtime_tensor(tensor))


def check(where: str, spec: InputSpec, tensor: Tensor, why: str) -> Feeding:
    """Return how ``tensor`` is fed by ``spec``.

    Raises ContractError where more than `MOST_SATURATED` of the pixel values saturate, or all of them fall onto less than
    `LEAST_USED` of the tensor's range, with both ranges and the recipe that fits.
    """
    if not tensor.is_float and tensor.dtype not in _INTEGERS:
        raise ContractError(
            f"{where}: its input is {tensor.dtype}, and pictures are fed as float or as whole numbers of 8 bits or more"
        )
    if tensor.quant is not None and tensor.quant.scale.size > 1:
        raise ContractError(
            f"{where}: its {tensor.dtype} input has {tensor.quant.scale.size} scales, one for each channel, which no interpreter reads;"
            " convert it with one scale for the input"
        )
    try:
        found = describe(spec, tensor, why)
    except ShapeError as error:
        raise ContractError(f"{where}: {why}: {error}") from error
    if found.misfit:
        raise ContractError(f"{where}: {why}: {found.doubt}")
    return found


def describe(spec: InputSpec, tensor: Tensor | TensorSpec, why: str) -> Feeding:
    """Return how ``tensor`` is fed by ``spec``, whether it fits or not. tensor: the graph's, or the interpreter's own."""
    if not spec.frames:
        return Feeding(spec=spec, why=why, values="no picture")
    fed = dataclasses.replace(spec, frames=1)
    real = preprocess.lookup_table(fed)
    low, high = float(real.min()), float(real.max())
    is_float = np.issubdtype(tensor.dtype, np.floating) if isinstance(tensor, TensorSpec) else tensor.is_float
    if is_float:
        return Feeding(spec=spec, why=why, values=f"values {low:g} to {high:g}")
    target = tensor if isinstance(tensor, TensorSpec) else runtime_tensor(tensor)
    table = preprocess.lookup_table(fed, target)
    if target.quant is None:
        return Feeding(spec=spec, why=why, values=f"{target.dtype} values {int(table.min())} to {int(table.max())} as they are")
    least, most = _range(target)
    if target.dtype == np.uint8 and (table == np.arange(256)).all():
        return Feeding(spec=spec, why=why, values=f"uint8, the pixels as they are (values {least:.4g} to {most:.4g})")
    values = f"values {low:.4g} to {high:.4g} as {target.dtype}"
    step = float(target.quant.scale.flat[0])
    beyond = float(np.mean((real < least - step) | (real > most + step)))
    used = (min(high, most) - max(low, least)) / (most - least)
    if beyond > MOST_SATURATED or used < LEAST_USED:
        fault = f"{beyond:.0%} of the pixel values saturate" if beyond > MOST_SATURATED else "all pixels fall onto a few levels"
        doubt = (
            f"pixels become {low:.4g} to {high:.4g}, and its {target.dtype} input holds {least:.4g} to {most:.4g}, so {fault};"
            f" {_fitting(target)} fits"
        )
        return Feeding(spec=spec, why=why, values=values, doubt=doubt, misfit=True)
    if used < _DOUBTFUL_USED:
        doubt = f"only {used:.0%} of the input's range {least:.4g} to {most:.4g} is used, {_fitting(target)} would use all"
        return Feeding(spec=spec, why=why, values=values, doubt=doubt)
    return Feeding(spec=spec, why=why, values=values)


def advice(tensor: Tensor) -> str:
    """Return which recipe fits an integer tensor, in words; empty for float tensors, which take any range."""
    if tensor.dtype not in _INTEGERS:
        return ""
    target = runtime_tensor(tensor)
    if target.quant is None:
        return f"; its {target.dtype} input has no scale, and of the pixels {preprocess.as_whole_numbers(target.dtype)}"
    least, most = _range(target)
    return f"; its {target.dtype} input holds {least:.4g} to {most:.4g}: {_fitting(target)} fits"


def _range(tensor: TensorSpec) -> tuple[float, float]:
    """Return the lowest and highest real value that a quantized tensor holds."""
    assert tensor.quant is not None
    limits = np.iinfo(tensor.dtype)
    least, most = (float(dequantize(np.array(end, tensor.dtype), tensor.quant)) for end in (limits.min, limits.max))
    return least, most


def _levels(tensor: TensorSpec) -> tuple[float, float]:
    """Return mean and scale of the recipe that gives each pixel value a level of its own, the darkest the lowest."""
    assert tensor.quant is not None
    least, most = _range(tensor)
    scale = 255.0 / (most - least)
    return 0.0 - least * scale, scale  # a least of 0 gives 0, and not "-0"


def _fitting(tensor: TensorSpec) -> str:
    """Return the flags that fill the range: a recipe by name where one does, within two levels of 256."""
    least, most = _range(tensor)
    near = 2.0 * (most - least) / 255.0
    for name, (mean, scale) in RECIPES.items():
        if abs(-mean / scale - least) <= near and abs((255.0 - mean) / scale - most) <= near:
            return f"--preprocess {name}"
    mean, scale = _levels(tensor)
    return f"--mean {mean:.6g} --scale {scale:.6g}"
