"""The flags that say which model is run and how, shared by the commands that run one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..artefact.vocabulary import OUTPUT_KINDS
from .preprocess_flags import add_preprocess, input_fields

if TYPE_CHECKING:
    from ..runtime.model import Model
    from ..system.mistakes import Mistakes

_said: set[str] = set()


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """Add ``--threads``, ``--kernels``, ``--delegate`` and ``--no-weight-cache``."""
    parser.add_argument("--threads", type=int, metavar="N", help="default: the usable cores, at most 4")
    parser.add_argument(
        "--kernels", choices=("optimized", "reference"), default="optimized", help="reference: slow, the same everywhere"
    )
    parser.add_argument(
        "--delegate", metavar="LIBRARY", help="a delegate to load: a path, or edgetpu for the installed libedgetpu"
    )
    parser.add_argument(
        "--no-weight-cache",
        dest="weight_cache",
        action="store_false",
        help="pack the weights into memory at every start: more memory, nothing in EDGEKIT_HOME",
    )


def add_foreign(parser: argparse.ArgumentParser) -> None:
    """Add what has to be said about a model that does not carry a contract."""
    add_preprocess(parser)
    group = parser.add_argument_group("how the outputs are read (models without a contract only)")
    group.add_argument("--labels", type=Path, metavar="FILE", help="one class name a line, or each behind its class number")
    group.add_argument(
        "--kind", choices=OUTPUT_KINDS, help="what the outputs are, where the model does not end in a softmax or sigmoid"
    )
    group.add_argument(
        "--background", type=int, metavar="INDEX", help="the class that means nothing, never an answer (0 in TF-slim)"
    )
    parser.add_argument("--show-input", action="store_true", help="say on standard error how pictures are fed, and who says so")


def load(args: argparse.Namespace, *, timed_only: bool = False) -> Model:
    """Load the model that the flags name. timed_only: nobody reads the outputs, so their kind need not be known."""
    from ..artefact import labels
    from ..runtime.loading import load as load_model

    unread = timed_only and args.kind is None and _is_foreign(args.file)
    model = load_model(
        args.file,
        threads=args.threads,
        kernels=args.kernels,
        delegate=args.delegate,
        input=input_fields(args),
        labels=None if args.labels is None or unread else labels.read(args.labels),
        kind="features" if unread else args.kind,
        background=None if unread else args.background,
        weight_cache=args.weight_cache,
    )
    say_note(model)
    _say_how_fed(args, model)
    return model


def look(args: argparse.Namespace, found: Mistakes) -> None:
    """Look at the file, at the labels and at what is said of its input, before any of it is loaded."""
    from ..artefact import container, labels

    found.attempt(container.look, args.file)
    found.attempt(input_fields, args)
    if args.labels is not None:
        found.attempt(labels.read, args.labels)


def say_note(model: Model) -> None:
    """Say what the user may want to mend, once in this process."""
    if model.note is not None and model.note not in _said:
        _said.add(model.note)
        print(f"edgekit: note: {model.note}", file=sys.stderr)


def _is_foreign(file: str) -> bool:
    """Return whether a file has no contract of its own, cheaply: hashing it would count as loading time."""
    import zipfile

    from ..artefact.container import CONTRACT_FILE
    from ..system import zips

    try:
        with zipfile.ZipFile(file) as archive:
            return CONTRACT_FILE not in archive.namelist()
    except zips.DAMAGED:
        return True  # nothing packed, or damaged, which loading says


def _say_how_fed(args: argparse.Namespace, model: Model) -> None:
    """Say it where it was asked for, or where a model is probably fed wrongly: by its own contract only if it cannot be meant so."""
    from ..runtime import feeding, foreign

    asked = getattr(args, "show_input", False)
    if model.container.contract is None:
        fed = foreign.feed(model.container, input=input_fields(args))
    else:
        fed = feeding.describe(model.contract.input, model.input, feeding.ITS_CONTRACT)
    if asked or fed.misfit or (fed.doubt and model.container.contract is None):
        print(f"edgekit: {'input' if asked else 'warning'}: {model.path}: {fed.to_text()}", file=sys.stderr)
