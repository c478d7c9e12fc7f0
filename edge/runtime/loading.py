"""``edge.load``: from a path to a model that runs.

Imports little itself: the file is hashed in the background while numpy and the interpreter are imported, which takes as long.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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
) -> Model:
    """Check a ``.tflite``, load it, and return it ready to run.

    threads: default is the number of usable cores, at most 4. kernels: ``optimized`` or ``reference``.
    input, outputs, labels, kind, background: what the contract of an artefact says, for a model of somebody else's that does not
    say it itself (see `edge.runtime.foreign.contract`). delegate: path of a delegate library, or ``edgetpu``
    for the installed libedgetpu, which is tried out in another process first.

    Raises ArtefactError for a damaged file, ContractError where it is not known how to feed or read the model (it is never
    guessed), and InterpreterError if the interpreter refuses it.
    """
    source = container.read(path, meanwhile=_import_the_rest)
    from . import interpreter, trust
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
    # What was never run here may crash the interpreter, whoever says that it is sound: another process goes first.
    trust.admit(source, runtime=interpreter.installed(), kernels=kernels, try_apart=delegate != EDGETPU)
    if delegate == EDGETPU:
        from . import edgetpu

        delegate = edgetpu.try_out(source.path)
    loaded = interpreter.open_interpreter(os.fsdecode(path), threads=threads, kernels=kernels, delegate=delegate)
    source.check_unchanged()
    return Model(source, contract, loaded)


def _import_the_rest() -> None:
    from . import interpreter, model  # noqa: F401 - model needs Pillow, which takes time too

    interpreter.import_package()
