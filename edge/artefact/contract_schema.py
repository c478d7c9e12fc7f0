"""What ``contract.json`` looks like: what `edge.artefact.contract` holds a document against before it makes a contract of it.

The same is ``edge/artefact/contract.schema.json``, for others:

    python -m edge.artefact.contract_schema > edge/artefact/contract.schema.json

What depends on more than one value, and the keywords ``not`` and ``allOf`` here, the classes of `edge.artefact.contract` check themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..schema import DRAFT, Schema, choice, described, flag, items, mapping, number, only, optional, record, row, text, whole
from .vocabulary import (
    COLORS,
    FITS,
    IMAGE,
    LARGEST_SIDE,
    MOST_FRAMES,
    MOST_VALUES,
    OUTPUT_KINDS,
    RESAMPLES,
    SCHEMA_VERSION,
    UNFILTERED,
)

_SCALE = {**number(), "not": {"const": 0}}


def _if(key: str, value: object, then: Mapping[str, Any], why: str) -> dict[str, Any]:
    return {"description": why, "if": {"properties": {key: {"const": value}}, "required": [key]}, "then": then}


def _per_channel(channels: int) -> dict[str, Any]:
    count = {"minItems": channels, "maxItems": channels}
    return {"properties": {"mean": count, "scale": count}}


INPUT = described(
    {
        **only(
            record(
                {
                    "color": choice(*COLORS),
                    "fit": choice(*FITS),
                    "resample": choice(*RESAMPLES),
                    "antialias": flag(),
                    "crop_fraction": number(above=0, high=1),
                    "letterbox_fill": whole(0, 255),
                    "mean": items(number()),
                    "scale": items(_SCALE),
                    "frames": described(
                        whole(0, MOST_FRAMES),
                        "Pictures stacked in the channels, the oldest first; 0 where the model takes none, only extra_inputs.",
                    ),
                },
                width=whole(1, LARGEST_SIDE),
                height=whole(1, LARGEST_SIDE),
            )
        ),
        "allOf": [
            {
                **_if(
                    "color",
                    "gray",
                    {**_per_channel(1), "required": ["mean", "scale"]},
                    "One mean and one scale per channel.",
                ),
                "else": _per_channel(3),
            },
            _if(
                "antialias",
                False,
                {"properties": {"resample": choice(*UNFILTERED)}},
                "Only these can be sampled without a low-pass filter.",
            ),
            _if("fit", "letterbox", {"properties": {"crop_fraction": {"const": 1}}}, "Letterbox shows the whole picture."),
        ],
    },
    "Geometry on 8-bit pixels first, then (pixel - mean) / scale per channel, in pixel units 0..255.",
)
EXTRA_INPUT = described(
    only(
        record(
            {
                "mean": described(items(number(), least=1), "One number, or one for each value of the last axis."),
                "scale": items(_SCALE, least=1),
                "meaning": text(),
            },
            name={**text(), "not": {"const": IMAGE}},
            shape=items(whole(1, MOST_VALUES), least=1),
        )
    ),
    "Real values of a shape without batch axis; the tensor gets (value - mean) / scale.",
)
OUTPUT = only(
    record(
        {
            "labels": items(text()),
            "background_index": optional(whole(0, MOST_VALUES - 1)),
            "threshold": number(above=0, below=1),
        },
        name=text(),
        kind=choice(*OUTPUT_KINDS),
    )
)
SOURCE = only(
    record(
        {
            **{name: text() for name in ("file", "sha256", "format", "architecture")},
            "parameters": whole(),
            "tools": mapping(text()),
        }
    )
)
QUANTIZATION = only(
    record(
        {
            **{name: text() for name in ("variant", "scheme", "ranges", "io")},
            "per_channel": flag(),
            "seed": whole(),
            "representative": described(items(row(text(), text())), "(id, SHA-256) of each image that set the ranges."),
        }
    )
)
LINEAGE = described(
    only(
        record(
            {
                **{name: text() for name in ("file", "sha256")},
                "parameters": whole(),
                "blocks": described(items(text()), "Residual blocks that are gone, by the names of their sums."),
                "channels": described(items(row(text(), whole(), whole())), "(convolution, channels left, channels before)."),
                "training_s": number(low=0),
            },
            height=whole(1, LARGEST_SIDE),
            width=whole(1, LARGEST_SIDE),
        )
    ),
    "The network before parts of it were taken out, and which.",
)
GOLDEN_OUTPUTS = only(
    record(
        runtime=text(),
        version=text(),
        kernels=text(),
        machine=text(),
        values=described(mapping(text()), "Output name to base64 of zlib of the little-endian tensor."),
    )
)
GOLDEN_SAMPLE = only(
    record(
        pattern=described(text(), "Name of the made-up picture, see edge/runtime/golden.py."),
        input_sha256=described(text(), "Of the input tensor's bytes."),
        outputs=items(GOLDEN_OUTPUTS),
    )
)
CONTRACT = only(
    record(
        {
            "source": SOURCE,
            "quantization": QUANTIZATION,
            "model_sha256": described(text(), "Of the flatbuffer without the packed files."),
            "golden": items(GOLDEN_SAMPLE),
            "notes": items(text()),
            "written_by": described(text(), "The program and its version."),
            "extra_inputs": described(items(EXTRA_INPUT), "Inputs beside the picture, in the order of the file; names differ."),
            "lineage": described(items(LINEAGE), "One for each time that the network was made smaller, the first first."),
        },
        schema_version=described(
            whole(1, SCHEMA_VERSION),
            "The oldest version that has all that the contract says: 3 with lineage, 2 with extra_inputs or stacked frames, else 1.",
        ),
        name=text(),
        input=INPUT,
        outputs=described(items(OUTPUT, least=1), "In the order of the model's outputs; names differ."),
    )
)
PARTS: Mapping[str, Schema] = {
    "input": INPUT,
    "extra_input": EXTRA_INPUT,
    "output": OUTPUT,
    "source": SOURCE,
    "quantization": QUANTIZATION,
    "lineage": LINEAGE,
    "golden_sample": GOLDEN_SAMPLE,
    "golden_outputs": GOLDEN_OUTPUTS,
}


def published() -> dict[str, Any]:
    """Return it as one JSON Schema, with a definition for each of the parts."""
    return {
        "$schema": DRAFT,
        "title": "edgekit contract",
        "description": "contract.json of schema versions 1 to 3: how a model is fed and read, where it came from, and what it"
        " must compute. Made from edge/artefact/contract_schema.py.",
        **_referring(CONTRACT),
        "$defs": {name: _referring(part) for name, part in PARTS.items()},
    }


def _referring(schema: Schema) -> dict[str, Any]:
    """Return the schema with references in the place of the parts inside it."""
    return {key: _inside(value) for key, value in schema.items()}


def _inside(value: Any) -> Any:
    for name, part in PARTS.items():
        if value is part:
            return {"$ref": f"#/$defs/{name}"}
    return _referring(value) if isinstance(value, Mapping) else value


if __name__ == "__main__":
    print(json.dumps(published(), indent=2))
