"""``edge.load``: from a path to a model that runs.

Imports little itself: the file is hashed in the background while interpreter, model and what they import are imported, which takes as
long (195 ms of processor time, median of 10 fresh processes). Models of others (foreign, 13 ms) and for an
Edge TPU (edgetpu, 8 ms) need a module of their own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..artefact import container
from ..errors import ContractError

if TYPE_CHECKING:
    from ..artefact.contract import InputSpec, OutputSpec
    from .model import Model

EDGETPU = "edgetpu"


def load(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    kernels: str = "optimized",
    input: InputSpec | Mapping[str, Any] | None = None,  # noqa: A002 - the contract's word for it
    outputs: Sequence[OutputSpec] | None = None,
    labels: Sequence[str] | None = None,
    kind: str | None = None,
    background: int | None = None,
    delegate: str | os.PathLike[str] | None = None,
    weight_cache: bool = True,
) -> Model:
    """Check a ``.tflite``, load it, and return it ready to run.

    threads: default is the number of usable cores, at most 4. kernels: ``optimized`` or ``reference``.
    input, outputs, labels, kind, background: what the contract of an artefact says, for a model of somebody else's that does not
    say it itself (see `edge.runtime.foreign.contract`). delegate: path of a delegate library, or ``edgetpu``
    for the installed libedgetpu, which is tried out in another process first. weight_cache: whether the kernels' packed weights may
    lie in a file of edgekit's cache, which takes less memory where ai-edge-litert runs the fast kernels (`edge.runtime.weight_cache`).

    Raises ArtefactError for a damaged file, ContractError where it is not known how to feed or read the model (it is never
    guessed), and InterpreterError if the interpreter refuses it.
    """
    cached = weight_cache and kernels == "optimized" and delegate is None
    source = container.read(path, meanwhile=partial(_import_the_rest, cached=cached))
    from . import interpreter
    from .model import Model

    interpreter.check_kernels(kernels)
    if source.contract is None:
        from . import foreign

        contract = foreign.contract(source, input=input, outputs=outputs, labels=labels, kind=kind, background=background)
    else:
        if any(given is not None for given in (input, outputs, labels, kind, background)):
            names = "" if labels is None else f", or give it other class names: edgekit relabel {path} LABELS"
            raise ContractError(
                f"{path}: it carries its own contract, so how to feed and read it cannot be given; leave that out{names}"
            )
        contract = source.contract
    note = None
    if cached:
        from . import weight_cache as caches

        threads = interpreter.checked_threads(threads)
        opened = caches.open_model(source, os.fsdecode(path), threads=threads)
        if opened.loaded is not None:
            return Model(source, contract, opened.loaded)
        note = opened.note
    from . import trust

    # What was never run here may crash the interpreter, whoever says that it is sound: another process goes first.
    trust.admit(source, runtime=interpreter.installed(), kernels=kernels, try_apart=delegate != EDGETPU)
    if delegate == EDGETPU:
        from . import edgetpu

        delegate = edgetpu.try_out(source.path)
    loaded = interpreter.open_interpreter(os.fsdecode(path), threads=threads, kernels=kernels, delegate=delegate)
    source.check_unchanged()
    return Model(source, contract, loaded, note=note)


def twin(model: Model, threads: int) -> Model:
    """Return ``model`` once more, run by the same kernels with another number of threads."""
    from . import interpreter, trust
    from .model import Model

    source, path, kernels = model.container, os.fspath(model.path), model.runtime.kernels
    if model.runtime.weight_cache:
        from . import weight_cache

        opened = weight_cache.open_model(source, path, threads=threads)
        if opened.loaded is not None:
            return Model(source, model.contract, opened.loaded)
        trust.admit(source, runtime=interpreter.installed(), kernels=kernels)
    loaded = interpreter.open_interpreter(path, threads=threads, kernels=kernels, package=model.runtime.package)
    source.check_unchanged()
    return Model(source, model.contract, loaded)


def _import_the_rest(cached: bool) -> None:
    from . import interpreter, model  # noqa: F401 - model needs Pillow, which takes time too

    if not cached or interpreter.compiled_library() is None:
        interpreter.import_package()
