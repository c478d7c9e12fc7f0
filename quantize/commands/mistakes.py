"""What the commands that take a trained network look at before TensorFlow is imported, which takes many seconds.

Each check is the one that loading makes later, or reads less than that: whatever is refused here would be refused there.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.system.mistakes import Mistakes

    from ..loading.io_specs import FoundOutput

# Weights of a file that is made, for each byte of float32.
SHARES = {"float32": 1.0, "float16": 0.5, "dynamic": 0.25, "int8": 0.25, "int16x8": 0.25, "int8-qat": 0.25}
_LARGE = 4 << 20  # bytes of a model's file: what smaller ones become is not known from their size
_STATE = 0.25  # of a file that was saved in training is weights, at least: Adam keeps two or three values for each
_SURE = 0.8  # the rest may be names, configuration, and what is folded into its neighbours


def look(args: argparse.Namespace, found: Mistakes) -> None:
    """Look at MODEL, at all that `source_flags.add_source` lets a user say of it, and at ``--out``."""
    from edge.artefact import labels as class_labels
    from edge.commands import preprocess_flags
    from edge.system import mistakes

    from ..loading import architecture, load, outline
    from . import source_flags

    found.attempt(preprocess_flags.input_fields, args)
    found.attempt(source_flags.architecture_of, args)
    shape = found.attempt(load.three, args.input_shape)
    for each in args.input or []:
        found.attempt(source_flags.input_of, each)
    if args.threshold is not None:
        found.attempt(source_flags.check_threshold, args.threshold)
    labels = None if args.labels is None else found.attempt(class_labels.read, args.labels)
    form, config = look_at_file(args.model, found, with_architecture=args.architecture is not None)
    fed = preprocess_flags.said(args)
    if form == outline.WEIGHTS:
        if args.input_shape is None:
            found.attempt(architecture.check_size, None, where=str(Path(args.model)))
        if not fed:
            _ask_how_fed((1, 1, 3), args.architecture, found, where=str(Path(args.model)))
    if config is not None:
        _look_at_network(
            config, found, where=str(Path(args.model)), fed=fed, sized=args.input_shape is not None or shape is not None
        )
        outputs = source_flags.outputs_of(args.outputs)
        if (args.labels is None or labels is not None) and not isinstance(outputs, Mapping):
            _look_at_output(config, found, outputs, labels, args.background, where=str(Path(args.model)))
    found.attempt(mistakes.check_out_folder, args.out)


def look_at_file(model: str, found: Mistakes, *, with_architecture: bool = False) -> tuple[str, dict[str, Any] | None]:
    """Look at a model's file; return its form, "" where that is wrong or TF-slim's, and the configuration of a Keras model in it."""
    from ..loading import outline
    from ..loading.slim import files as slim_files

    path = Path(model)
    if slim_files.recognises(path):
        return "", None
    return found.attempt(outline.look_into, path, with_architecture, where=str(path)) or ("", None)


def look_at_pictures(found: Mistakes, *places: str | Path | None, follow_links: bool = False) -> None:
    """Look whether there are any pictures in these folders and manifests."""
    from edge.data.first_look import check_pictures

    for place in places:
        if place is not None:
            found.attempt(check_pictures, place, follow_links=follow_links)


def look_at_space(args: argparse.Namespace, found: Mistakes, variants: Sequence[str]) -> None:
    """Look whether ``--out`` has room for the weights of these variants, where the size of the model's file tells how many there are."""
    from edge.system import mistakes

    path, out = Path(args.model), Path(args.out)
    what = f"for the weights of {', '.join(variants)}, counted from the size of {path.name}"
    found.attempt(mistakes.check_free, out, needed(path, args.name, out, variants), what)


def needed(path: Path, name: str | None, out: Path, variants: Sequence[str]) -> int:
    """Return how many bytes the variants of a network take in ``out`` at least, 0 where that cannot be told from its file's size.

    A file that is there already is replaced, and gives back what it takes; one of them is there twice for a moment.
    """
    from ..variants import file_name

    if not path.is_file() or path.stat().st_size < _LARGE or path.suffix not in (".keras", ".h5", ".hdf5"):
        return 0
    name = file_name(name, path)
    shares = [SHARES[variant] for variant in variants if not (out / f"{name}.{variant}.tflite").exists()]
    share = sum(shares) or max((SHARES[variant] for variant in variants), default=0.0)
    trained = path.suffix != ".keras" or _was_compiled(path)
    return int(path.stat().st_size * share * (_STATE if trained else 1.0) * _SURE)


def _was_compiled(path: Path) -> bool:
    """Whether a file may hold the state of an optimizer beside the weights; so does one that cannot be read."""
    from edge.errors import EdgeError

    from ..loading import keras_files

    try:
        return bool(keras_files.stored_config(path, where=str(path)).get("compile_config"))
    except EdgeError:
        return True


def _look_at_network(config: Mapping[str, Any], found: Mistakes, *, where: str, fed: bool, sized: bool) -> None:
    """Look at the input. fed: how pictures are fed was said. sized: so was the size of the input."""
    from ..loading import io_specs, keras_config, keras_files, outline
    from ..loading.architecture import recognise

    stored = found.attempt(outline.told, lambda: keras_config.spatial_shape(config, where=where))
    if stored is None or stored == io_specs.NO_PICTURE:
        return
    if not sized:
        found.attempt(keras_files.check_size, config, stored, where=where)
    height, width, channels = stored
    if fed or channels is None or not outline.told(lambda: outline.takes_pixels_as_they_come(config)):
        return
    names = [keras_config.layer_name(layer) for layer, _ in keras_config.objects(config, where=where)]
    _ask_how_fed((height or 1, width or 1, channels), recognise(names), found, where=where)


def _ask_how_fed(shape: tuple[int, int, int], architecture: str, found: Mistakes, *, where: str) -> None:
    """Ask how pictures are fed, of a network that does not normalise them itself. ``architecture``: "" for one that is not known."""
    from ..loading import contract_check

    inside = contract_check.InsideNormalisation.nothing()
    found.attempt(contract_check.decide, None, shape=shape, inside=inside, architecture=architecture, where=where)


def _look_at_output(
    config: Mapping[str, Any],
    found: Mistakes,
    outputs: str | None,
    labels: Sequence[str] | None,
    background: int | None,
    *,
    where: str,
) -> None:
    from ..loading import outline

    output = outline.told(lambda: outline.only_output(config))
    if output is not None:
        found.attempt(_specify, output, outputs, labels, background, where=where)


def _specify(
    output: FoundOutput, outputs: str | None, labels: Sequence[str] | None, background: int | None, *, where: str
) -> None:
    from ..loading import io_specs

    named = io_specs.name_background((output,), labels, background, where=where)
    specs, _ = io_specs.specify_outputs((output,), outputs, named, where=where)
    io_specs.mark_background(specs, background, where=where)
