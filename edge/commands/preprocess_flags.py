"""The flags that say how a picture is fed: ``--preprocess inception`` and its details. Shared by several commands."""

from __future__ import annotations

import argparse
from typing import Any

from ..artefact.contract import InputSpec
from ..artefact.vocabulary import COLORS, FITS, RECIPES, RESAMPLES
from ..errors import ContractError

_DETAILS = ("color", "fit", "resample", "crop_fraction", "letterbox_fill", "mean", "scale", "no_antialias")


def add_preprocess(parser: argparse.ArgumentParser) -> None:
    """Add ``--preprocess`` and the flags that change a detail of it."""
    group = parser.add_argument_group("how a picture becomes the input tensor")
    group.add_argument(
        "--preprocess",
        choices=RECIPES,
        help="inception: -1..1, raw: 0..255, unit: 0..1; each stretches the picture to the input size (bilinear; RGB, or grey as the"
        " model takes it)",
    )
    group.add_argument("--color", choices=COLORS, help="order of the channels (default rgb)")
    group.add_argument(
        "--fit", choices=FITS, help="stretch, centred crop of the input's aspect ratio, or letterbox (default stretch)"
    )
    group.add_argument(
        "--crop-fraction", type=float, metavar="F", help="keep the centred fraction F of each side (0.875 is common)"
    )
    group.add_argument("--letterbox-fill", type=int, metavar="0..255", help="grey value of the bars (default 0)")
    group.add_argument("--resample", choices=RESAMPLES, help="default bilinear")
    group.add_argument(
        "--no-antialias",
        action="store_true",
        default=None,
        help="shrink without a low-pass filter, as tf.image.resize does by default",
    )
    group.add_argument(
        "--mean", type=_numbers, metavar="M[,M,M]", help="subtracted, in pixel units 0..255; one, or one per channel"
    )
    group.add_argument("--scale", type=_numbers, metavar="S[,S,S]", help="divided by, in pixel units; one, or one per channel")


def said(args: argparse.Namespace) -> bool:
    """Whether any of these flags was given."""
    return args.preprocess is not None or any(getattr(args, name) is not None for name in _DETAILS)


def input_fields(args: argparse.Namespace) -> dict[str, Any] | None:
    """Return what the flags say of an InputSpec, for `InputSpec.fitting`: no size, one number may stand for all channels.

    None if no flag was given. How many channels there are, the model knows.
    Raises ContractError if the flags leave mean and scale open.
    """
    if not said(args):
        return None
    mean, scale = args.mean, args.scale
    if args.preprocess is not None:
        recipe_mean, recipe_scale = RECIPES[args.preprocess]
        mean, scale = mean or (recipe_mean,), scale or (recipe_scale,)
    if mean is None or scale is None:
        raise ContractError(
            "how a picture is fed is only half said; give --preprocess inception, raw or unit, or both --mean and --scale"
        )
    fields = {name: getattr(args, name) for name in _DETAILS[:5] if getattr(args, name) is not None}
    fields["mean"], fields["scale"] = mean, scale
    if args.no_antialias:
        fields["antialias"] = False
    return fields


def input_spec(args: argparse.Namespace, *, height: int, width: int, channels: int = 3) -> InputSpec | None:
    """Return the InputSpec that the flags say for an input of that size, None if no flag was given."""
    fields = input_fields(args)
    return None if fields is None else InputSpec.fitting(fields, height=height, width=width, channels=channels)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, or numbers with commas between") from None
