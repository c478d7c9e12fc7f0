"""The flags that say what a trained network is, shared by the commands that load one."""

from __future__ import annotations

import argparse
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.commands import preprocess_flags

from ..errors import LoadError

if TYPE_CHECKING:
    from ..loading.source import Source

_ARCHITECTURE = ("classes", "headless", "pooling", "activation")


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add MODEL and everything that its file may leave open."""
    parser.add_argument(
        "model", metavar="MODEL", help="a .keras, .h5 or .weights.h5 file, a SavedModel directory, or TF-slim's .pb"
    )
    group = parser.add_argument_group("what the model is")
    group.add_argument("--name", help="of the files that are made (default: the model's file name)")
    group.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="one class name a line, or each behind its class number (default: the sub-folders of --images)",
    )
    group.add_argument(
        "--outputs",
        metavar="KIND|NAME=KIND,...",
        help="what outputs mean where their last layer leaves it open: logits, regression, features, probabilities, multilabel",
    )
    group.add_argument(
        "--background",
        type=int,
        metavar="INDEX",
        help="the class that means nothing, never an answer (0 in TF-slim), -1 for none",
    )
    group.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="from which probability on one value says the second of two classes, and a label of a multi-label output counts (0.5)",
    )
    group.add_argument("--input-shape", type=shape, metavar="HxW", help="where the model leaves it open, such as 299x299")
    group.add_argument(
        "--input",
        action="append",
        metavar="NAME[:KEY=VALUE...]",
        help="an input beside the picture: mean=M, scale=S (one number, or one per value with commas), meaning=TEXT; repeatable",
    )
    group.add_argument(
        "--allow-code", action="store_true", help="run the Python code of Lambda layers in the file: trust it first"
    )
    weights = parser.add_argument_group("for a file that holds weights only")
    weights.add_argument("--architecture", metavar="NAME", help="inception_resnet_v2")
    weights.add_argument("--classes", type=int, metavar="N", help="default: read from the weights")
    weights.add_argument("--headless", action="store_true", default=None, help="the network without its top")
    weights.add_argument("--pooling", choices=("avg", "max"), help="of a headless network (default: none, the feature map)")
    weights.add_argument("--activation", choices=("softmax", "sigmoid", "linear"), help="of the top (default: softmax)")
    preprocess_flags.add_preprocess(parser)


def load_source(args: argparse.Namespace, *, images: str | None = None) -> Source:
    """Load the network that the flags name. images: the folder whose sub-folders are the classes where no labels are given."""
    from ..loading.load import load

    options: dict[str, Any] = {
        "name": args.name,
        "preprocess": preprocess_flags.input_fields(args),
        "outputs": outputs_of(args.outputs),
        "input_shape": args.input_shape,
        "architecture": architecture_of(args),
        "allow_code": args.allow_code,
        "inputs": dict(map(input_of, args.input or [])),
        "background": args.background,
    }
    if args.labels is not None:
        from edge.artefact import labels as class_labels

        source = load(args.model, labels=class_labels.read(args.labels), **options)
    else:
        source = load(args.model, **options)
        source = source if images is None else _with_folder_labels(source, Path(images))
    return source if args.threshold is None else _with_threshold(source, args.threshold)


def check_threshold(threshold: float) -> None:
    """Raise LoadError for a threshold that is no probability between 0 and 1."""
    if not 0.0 < threshold < 1.0:
        raise LoadError(f"--threshold {threshold:g}: a probability is expected, above 0 and below 1")


def _with_threshold(source: Source, threshold: float) -> Source:
    """Return ``source`` with the threshold of its outputs that have one. Raises LoadError where none has."""
    import dataclasses

    from ..errors import LoadError

    sizes = dict(zip(source.output_names, (int(tensor.shape[-1]) for tensor in _output_tensors(source)), strict=True))
    deciding = [o for o in source.contract.outputs if o.kind == "multilabel" or (o.is_classes and sizes[o.name] == 1)]
    check_threshold(threshold)
    if not deciding:
        raise LoadError(
            f"{source.contract.name}: --threshold {threshold:g} is for an output of one value or of independent labels, and it has none;"
            " the largest of several classes wins without one"
        )
    outputs = tuple(dataclasses.replace(o, threshold=threshold) if o in deciding else o for o in source.contract.outputs)
    return dataclasses.replace(source, contract=source.contract.replace(outputs=outputs))


def _with_folder_labels(source: Source, images: Path) -> Source:
    """Return ``source`` with the class folders of ``images`` as labels, if it has one output with as many classes (and no folder
    for a background class).
    """
    import dataclasses

    from edge.artefact import labels as class_labels
    from edge.data.dataset import class_folders, shown

    if not images.is_dir():
        return source
    full, empty = class_folders(images)
    sizes = dict(zip(source.output_names, (int(tensor.shape[-1]) for tensor in _output_tensors(source)), strict=True))
    named = {
        o.name: _classes(o, sizes[o.name]) - (o.background_index is not None) for o in source.contract.outputs if not o.labels
    }
    classes = [o for o in source.contract.outputs if o.name in named and (o.is_classes or o.kind == "multilabel")]
    # Keras' image_dataset_from_directory counts empty folders, so a network may have been trained with them.
    folders = next((f for f in (tuple(sorted((*full, *empty))), full) if any(named[o.name] == len(f) for o in classes)), ())
    open_ones = [o for o in classes if named[o.name] == len(folders)]
    if not full or not classes:
        return source
    if len(open_ones) != 1:
        has = ", ".join(f"{o.name!r} has {named[o.name]} classes" for o in classes)
        without = f" ({shown(empty)} hold none)" if empty else ""
        return _noted(
            source, f"no labels: {len(full)} sub-folders of {images} hold images{without}, and {has}; give --labels FILE"
        )
    left_out = f" (without {shown(empty)}, which hold no images)" if empty and folders == full else ""
    note = (
        f"labels of {open_ones[0].name!r} are the sub-folders of {images}{left_out} in sorted order, as Keras'"
        " image_dataset_from_directory has them; --labels FILE says otherwise"
    )
    composed = tuple(unicodedata.normalize("NFC", name) for name in folders)
    if list(composed) != sorted(composed) or sorted(folders, key=_decomposed) != list(folders):
        note += "; accents sort differently on macOS than elsewhere: check the order against the machine that trained the network"
    (own,) = open_ones
    labels = class_labels.fit(composed, _classes(own, sizes[own.name]), own.background_index, where=str(images))
    # One sigmoid on two class folders says which of the two it is.
    kind = "probabilities" if own.kind == "multilabel" and sizes[own.name] == 1 else own.kind
    outputs = tuple(dataclasses.replace(o, labels=labels, kind=kind) if o is own else o for o in source.contract.outputs)
    return _noted(dataclasses.replace(source, contract=source.contract.replace(outputs=outputs)), note)


def _noted(source: Source, note: str) -> Source:
    import dataclasses

    notes = (*source.notes, note)
    return dataclasses.replace(source, contract=source.contract.replace(notes=notes), notes=notes)


def _decomposed(name: str) -> str:
    return unicodedata.normalize("NFD", name)


def _classes(output: Any, size: int) -> int:
    """Return the number of class folders that an output with classes or labels can have."""
    return 2 if size == 1 else size


def _output_tensors(source: Source) -> list[Any]:
    structured = source.concrete_function().structured_outputs
    return [structured[name] for name in source.output_names]


def architecture_of(args: argparse.Namespace) -> Any:
    """Return the Architecture that the flags name, None without. Raises LoadError for details of none."""
    if args.architecture is None:
        given = [f"--{name}" for name in _ARCHITECTURE if getattr(args, name) is not None]
        if given:
            raise LoadError(
                f"{args.model}: {', '.join(given)} describe a weights file's network; add --architecture inception_resnet_v2"
            )
        return None
    from ..loading.architecture import Architecture

    return Architecture(
        name=args.architecture,
        classes=args.classes,
        include_top=False if args.headless else None,
        pooling=args.pooling,
        activation=args.activation or "softmax",
    )


def outputs_of(text: str | None) -> str | dict[str, str] | None:
    """Return what ``--outputs`` says: a kind, or kinds by the names of outputs."""
    if text is None or "=" not in text:
        return text
    pairs = [part.partition("=") for part in text.split(",")]
    return {name.strip(): kind.strip() for name, _, kind in pairs}


def input_of(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and fields that an ``--input`` gives. Raises LoadError."""
    name, *parts = text.split(":")
    fields: dict[str, Any] = {}
    for part in parts:
        key, _, value = part.partition("=")
        if key not in ("mean", "scale", "meaning") or not value:
            raise LoadError(f"--input {text}: {part!r} is not understood, expected mean=M, scale=S or meaning=TEXT")
        try:
            fields[key] = value if key == "meaning" else tuple(float(number) for number in value.split(","))
        except ValueError as error:
            raise LoadError(f"--input {text}: {value!r} is no number, or numbers with commas between them") from error
    return name, fields


def shape(text: str) -> tuple[int, ...]:
    """Return ``HxW`` as numbers, for argparse."""
    try:
        return tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no shape, expected HEIGHTxWIDTH such as 299x299") from None
