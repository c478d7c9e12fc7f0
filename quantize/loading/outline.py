"""What a model's file says of itself before it is loaded: its form, and, of a Keras model, what its configuration leaves no doubt of.

TensorFlow is not needed for any of it. What a configuration leaves open is answered with None: only the network itself can tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..errors import LoadError
from . import h5_files, keras_files, keras_forms, saved_model
from .input_chain import GEOMETRY, IDLE, LINEAR
from .io_specs import FoundOutput
from .keras_config import MODEL_CLASSES, calls, layer_name

KERAS, H5, WEIGHTS, SAVED_MODEL = "keras", "h5", "weights", "saved_model"

SUPPORTED = (
    ".keras, a whole-model .h5, a SavedModel directory, .weights.h5 with its architecture, or a frozen graph or checkpoint of TF-slim's"
    " Inception-ResNet-v2"
)

_FOREIGN = (
    (re.compile(rb"\x80[\x02-\x05]"), "a Python pickle: loading it would run whatever is in it"),
    (re.compile(rb"....TFL3", re.S), "a .tflite already; give it to edgekit inspect or validate"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer, not the file itself: run git lfs pull"),
    (re.compile(rb"\x93NUMPY"), "a NumPy array"),
    (re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf"), "compressed: unpack it first"),
    (re.compile(rb"\s*[{\[<]"), "text"),
)
_HEAD_BYTES = 64

_MOST_LAYERS = 1000  # followed along one path
_PASSES_ON = IDLE | GEOMETRY | {"InputLayer", "Flatten", "Reshape"}
_ENDS = ("softmax", "sigmoid", "linear")
# What leaves a list of values a list of values.
_KEEPS_A_LIST = frozenset(
    {
        "ActivityRegularization",
        "AlphaDropout",
        "BatchNormalization",
        "Dense",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
    }
    | {"Activation", "ELU", "LayerNormalization", "LeakyReLU", "PReLU", "ReLU"}
)
_MAKES_A_LIST = frozenset({"Flatten", "GlobalAveragePooling2D", "GlobalMaxPooling2D"})
_FLOATS = (None, "float32", "float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")

_Told = TypeVar("_Told")


def form_of(path: Path, with_architecture: bool, *, where: str) -> str:
    """Return `KERAS`, `H5`, `WEIGHTS` or `SAVED_MODEL`; TF-slim's files are recognised elsewhere.

    with_architecture: the network of a file of weights was said. Raises LoadError for anything else: missing, foreign, damaged.
    """
    return _form_and_h5_config(path, with_architecture, where=where)[0]


def look_into(path: Path, with_architecture: bool, *, where: str) -> tuple[str, dict[str, Any] | None]:
    """Return the form of a file as `form_of` does, and the configuration of a Keras model in its usual form; None for other forms,
    and where it has none that could be told anything of.
    """
    form, stored = _form_and_h5_config(path, with_architecture, where=where)
    if form == KERAS:
        stored = keras_files.stored_config(path, where=where)
    if stored is None:
        return form, None
    whole = stored
    return form, told(lambda: keras_forms.usual(whole, where=where)[0])


def _form_and_h5_config(path: Path, with_architecture: bool, *, where: str) -> tuple[str, dict[str, Any] | None]:
    """Return the form of a file and, as an HDF5 file is looked through only once, the configuration in it."""
    if path.is_dir():
        if not (path / saved_model.GRAPH_FILE).is_file():
            raise LoadError(f"{where}: a directory without {saved_model.GRAPH_FILE}, so no SavedModel; expected {SUPPORTED}")
        return SAVED_MODEL, None
    head = _head(path, where=where)
    if head.startswith(b"PK\x03\x04"):
        return KERAS, None
    if not head.startswith(h5_files.MAGIC):
        raise LoadError(f"{where}: {_foreign(path, head)} ({path.stat().st_size:,} bytes); expected {SUPPORTED}")
    with h5_files.opened(path, where=where) as file:
        config = h5_files.model_config(file, where=where)
    if config is not None:
        return H5, config
    if not with_architecture:
        raise LoadError(
            f"{where}: holds weights without their network; say which it is with --architecture inception_resnet_v2"
            " --input-shape HEIGHTxWIDTH, or save the whole model"
        )
    return WEIGHTS, None


def told(look: Callable[[], _Told]) -> _Told | None:
    """Return what ``look`` finds in a configuration, None where that is not built as Keras writes it: loading says what is wrong."""
    try:
        return look()
    except LoadError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError):
        return None


def takes_pixels_as_they_come(config: Mapping[str, Any]) -> bool:
    """Whether a model certainly does not normalise its picture itself: nothing that changes values is before its first convolution or
    dense layer. False where that is open.
    """
    layers = config["config"]["layers"]
    inputs = [layer for layer in layers if layer.get("class_name") == "InputLayer"]
    first = (inputs or layers)[0].get("config", {}).get("dtype")
    dtype = first["config"]["name"] if isinstance(first, Mapping) else first
    if len(inputs) > 1 or dtype not in _FLOATS:
        return False
    for layer in _along(config):
        kind = "" if layer is None else str(layer.get("class_name"))
        if kind in LINEAR or kind == "Dense":
            return True
        if kind not in _PASSES_ON and not kind.startswith("Random"):
            return False
    return False


def _along(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any] | None]:
    """Yield the layers from a model's input on, into nested models; None where the path forks."""
    layers = config["config"]["layers"]
    if "inbound_nodes" not in layers[-1]:
        for layer in layers:
            yield from _into(layer)
        return
    readers: dict[str, list[Mapping[str, Any]]] = {}
    for layer in layers:
        for sources, _ in calls(layer.get("inbound_nodes", [])):
            for source in sources:
                readers.setdefault(source, []).append(layer)
    (here,) = [layer_name(layer) for layer in layers if layer.get("class_name") == "InputLayer"]
    for _ in range(_MOST_LAYERS):
        following = readers.get(here, [])
        if len(following) > 1:
            yield None
        if len(following) != 1:
            return
        yield from _into(following[0])
        here = layer_name(following[0])


def _into(layer: Mapping[str, Any]) -> Iterator[Mapping[str, Any] | None]:
    if layer.get("class_name") in MODEL_CLASSES:
        yield from _along(layer)
    else:
        yield layer


def only_output(config: Mapping[str, Any]) -> FoundOutput | None:
    """Return the output of a model that ends in one dense layer over a list of values, with softmax, sigmoid or nothing behind it."""
    last = _last(config)
    if last is None:
        return None
    model, layer = last
    inner = layer.get("config", {})
    units, activation = inner.get("units"), inner.get("activation")
    if layer.get("class_name") != "Dense" or type(units) is not int or activation not in _ENDS:
        return None
    if not _ends_in_a_list(model, layer):
        return None
    return FoundOutput(name=layer_name(layer), shape=(units,), ending=activation)


def _last(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """Return the layer that gives a model's only output, and the model that it stands in."""
    layers, stored = config["config"]["layers"], config["config"].get("output_layers")
    if "inbound_nodes" not in layers[-1]:
        layer = layers[-1]
    else:
        if isinstance(stored, list) and len(stored) == 1:
            stored = stored[0]
        if not isinstance(stored, list) or len(stored) != 3 or not isinstance(stored[0], str):
            return None
        layer = next(layer for layer in layers if layer_name(layer) == stored[0])
    return _last(layer) if layer.get("class_name") in MODEL_CLASSES else (config, layer)


def _ends_in_a_list(model: Mapping[str, Any], layer: Mapping[str, Any]) -> bool:
    """Whether what a layer gives is one list of values for each picture, and no map."""
    layers = model["config"]["layers"]
    for _ in range(_MOST_LAYERS):
        kind = str(layer.get("class_name"))
        if kind in _MAKES_A_LIST:
            return not layer.get("config", {}).get("keepdims")
        if kind in MODEL_CLASSES:
            last = _last(layer)
            return last is not None and _ends_in_a_list(*last)
        if kind not in _KEEPS_A_LIST:
            return False
        if "inbound_nodes" not in layers[-1]:
            position = next(i for i, each in enumerate(layers) if each is layer)
            if position == 0:
                return False
            layer = layers[position - 1]
            continue
        sources = [source for names, _ in calls(layer.get("inbound_nodes", [])) for source in names]
        if len(sources) != 1:
            return False
        layer = next(each for each in layers if layer_name(each) == sources[0])
    return False


def _head(path: Path, *, where: str) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise LoadError(f"{where}: no such file; expected {SUPPORTED}") from error
    except OSError as error:
        raise LoadError(f"{where}: cannot be read ({error.strerror})") from error
    if not head:
        raise LoadError(f"{where}: empty (0 bytes); copy or save it again")
    return head


def _foreign(path: Path, head: bytes) -> str:
    if path.name == saved_model.GRAPH_FILE:
        return f"a SavedModel is a directory: give {str(path.parent)!r}"
    return next((f"is {what}" for pattern, what in _FOREIGN if pattern.match(head)), "no model format that edgekit knows")
