"""What can stand in ``edgekit.toml``, and which flag of which command each setting is.

    python -m edge.project.settings > edgekit.schema.json     # the JSON Schema, for editors

There is no setting for what a stranger's folder must not decide: ``--allow-code``, what is deployed where it is taken away again
(``rollback``, ``undeploy``), and anything secret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..schema import DRAFT, Schema, choice, described, either, items, number, only, record, row, text, whole

NAME = "edgekit.toml"

MODEL, FILE, TARGETS = "MODEL", "FILE", "TARGET"
"""Arguments without a flag, by the name that ``--help`` gives them."""

_SOURCE = ("quantize", "qat", "tune", "shrink")
_ALL = (*_SOURCE, "ship")
_RGB = either(number(), row(number(), number(), number()))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setting:
    """One key of a section. ``flags``: command -> its flag, or argument. ``is_path``: relative to the file's folder.

    ``needs``: command -> flags without any of which the setting makes no sense there. ``unless``: flags that say the same in another way.
    ``of_model``: holds for the project's model only, not for another one on the command line.
    """

    section: str
    key: str
    help: str
    example: str
    flags: Mapping[str, str]
    schema: Schema = field(default_factory=text)
    is_path: bool = False
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unless: tuple[str, ...] = ()
    of_model: bool = False

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}"


def _of(flag: str, *commands: str) -> dict[str, str]:
    return dict.fromkeys(commands, flag)


SETTINGS: tuple[Setting, ...] = (
    Setting(
        section="model",
        key="file",
        help="the trained network",
        example='"flowers.keras"',
        flags=_of(MODEL, *_ALL),
        is_path=True,
    ),
    Setting(
        section="model",
        key="preprocess",
        help="how it was fed in training; leave it out where the network does that itself",
        example='"inception"',
        flags=_of("--preprocess", *_ALL),
        unless=("--mean", "--scale"),
        of_model=True,
    ),
    Setting(
        section="model",
        key="mean",
        help="taken off each channel, where no preset fits",
        example="127.5",
        flags=_of("--mean", *_ALL),
        schema=_RGB,
        unless=("--preprocess",),
        of_model=True,
    ),
    Setting(
        section="model",
        key="scale",
        help="by which each channel is then divided",
        example="127.5",
        flags=_of("--scale", *_ALL),
        schema=_RGB,
        unless=("--preprocess",),
        of_model=True,
    ),
    Setting(
        section="model",
        key="labels",
        help="class names, a line each; default: the folders of the photos",
        example='"labels.txt"',
        flags=_of("--labels", *_ALL),
        is_path=True,
        of_model=True,
    ),
    Setting(
        section="model",
        key="outputs",
        help="what it answers, where the network does not tell",
        example='"logits"',
        flags=_of("--outputs", *_ALL),
        of_model=True,
    ),
    Setting(
        section="model",
        key="background",
        help="the class that stands for none of the others",
        example="0",
        flags=_of("--background", *_ALL),
        schema=either(whole(0), text()),
        of_model=True,
    ),
    Setting(
        section="model",
        key="input_shape",
        help="height x width, where the network takes any",
        example='"299x299"',
        flags=_of("--input-shape", *_ALL),
        of_model=True,
    ),
    Setting(
        section="photos",
        key="train",
        help="training photos: a folder of classes, or a manifest",
        example='"photos/train"',
        flags={**_of("--images", *_SOURCE), "ship": "--train"},
        is_path=True,
    ),
    Setting(
        section="photos",
        key="validation",
        help="what choices are made by; never the test photos",
        example='"photos/validation"',
        flags=_of("--validation", *_SOURCE),
        is_path=True,
    ),
    Setting(
        section="photos",
        key="test",
        help="what verdicts are given by; nothing else has seen them",
        example='"photos/test"',
        flags={**_of("--images", "validate", "compare", "explain"), "ship": "--test"},
        is_path=True,
        unless=("--plan",),
    ),
    Setting(
        section="artefact",
        key="file",
        help="the file for the board",
        example='"out/flowers.int8.tflite"',
        flags=_of(FILE, "validate", "explain", "benchmark", "check", "selftest", "inspect", "deploy"),
        is_path=True,
        unless=("--plan",),
    ),
    Setting(
        section="artefact",
        key="reference",
        help="what it is compared with",
        example='"out/flowers.float32.tflite"',
        flags=_of("--reference", "validate", "explain", "compare"),
        is_path=True,
        unless=("--plan",),
    ),
    Setting(
        section="gate",
        key="max_drop",
        help="the accuracy that may be lost, as a share: 0.01 is one point",
        example="0.01",
        flags=_of("--max-drop", "validate", "tune", "shrink", "ship"),
        schema=number(-1, 1),
        needs={"validate": ("--reference", "--plan")},
    ),
    Setting(
        section="make",
        key="out",
        help="where files go",
        example='"out"',
        flags=_of("--out", *_SOURCE),
        is_path=True,
    ),
    Setting(
        section="make",
        key="variants",
        help="what quantize makes",
        example='["float32", "int8"]',
        flags=_of("--variants", "quantize"),
        schema=items(choice("float32", "float16", "dynamic", "int8", "int16x8"), 1),
    ),
    Setting(
        section="make",
        key="io",
        help="what goes into the int8 file and comes out of it: int8, uint8 or float32",
        example='"int8"',
        flags=_of("--io", "quantize", "qat", "shrink"),
        schema=choice("int8", "uint8", "float32"),
    ),
    Setting(
        section="make",
        key="runtime",
        help="the interpreter that must load it",
        example='"tflite-runtime-2.14"',
        flags=_of("--runtime", "quantize"),
    ),
    Setting(
        section="board",
        key="targets",
        help="where it is deployed: [user@]host[:port], virtual:NAME or local",
        example='["pi@kitchen"]',
        flags=_of(TARGETS, "deploy", "status", "doctor"),
        schema=items(text(), 1),
    ),
    Setting(
        section="board",
        key="profile",
        help="which board that is (edgekit boards), for predictions",
        example='"pi-5"',
        flags={**_of("--board", "check", "tune", "shrink"), "ship": "--profile"},
    ),
    Setting(
        section="board",
        key="accelerator",
        help="what is plugged into it",
        example='"coral-usb"',
        flags=_of("--accelerator", "check", "tune"),
    ),
    Setting(
        section="board",
        key="folder",
        help="its folder there",
        example='"edgekit-flowers"',
        flags=_of("--folder", "deploy", "status"),
    ),
)
SECTIONS = tuple(dict.fromkeys(setting.section for setting in SETTINGS))


def published() -> dict[str, Any]:
    """Return the JSON Schema of the file, which editors read."""
    sections = {
        section: only(record({each.key: described(each.schema, each.help) for each in SETTINGS if each.section == section}))
        for section in SECTIONS
    }
    return {"$schema": DRAFT, "title": NAME, **only(record(sections))}


if __name__ == "__main__":
    print(json.dumps(published(), indent=1))
