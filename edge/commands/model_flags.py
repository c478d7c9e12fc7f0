"""The flags that say which model is run and how, shared by the commands that run one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..contract import OUTPUT_KINDS
from .preprocess_flags import add_preprocess, input_fields

if TYPE_CHECKING:
    from ..model import Model


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """Add ``--threads``, ``--kernels`` and ``--delegate``."""
    parser.add_argument("--threads", type=int, metavar="N", help="default: the usable cores, at most 4")
    parser.add_argument(
        "--kernels", choices=("optimized", "reference"), default="optimized", help="reference: slow, the same everywhere"
    )
    parser.add_argument(
        "--delegate", metavar="LIBRARY", help="a delegate to load: a path, or edgetpu for the installed libedgetpu"
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


def load(args: argparse.Namespace) -> Model:
    """Load the model that the flags name."""
    from .. import class_labels
    from ..model import load as load_model

    return load_model(
        args.file,
        threads=args.threads,
        kernels=args.kernels,
        delegate=args.delegate,
        input=input_fields(args),
        labels=None if args.labels is None else class_labels.read(args.labels),
        kind=args.kind,
        background=args.background,
    )
