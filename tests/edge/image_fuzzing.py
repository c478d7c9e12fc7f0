"""Decodes thousands of damaged pictures in a process of its own: ``python -m tests.edge.image_fuzzing FIRST COUNT``.

Prints how many were refused and decoded, by format, and each exception that was no ImageError, as JSON.
"""

from __future__ import annotations

import faulthandler
import io
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin, features

from edge.artefact.contract import InputSpec
from edge.errors import ImageError
from edge.runtime.preprocess import preprocess

_HANGS_S = 60
_SPECS = (InputSpec(width=16, height=16), InputSpec(width=8, height=8, antialias=False))


def originals() -> Iterator[tuple[str, bytes]]:
    """Yield small pictures of every format and mode that is read here."""
    random_ = np.random.default_rng(0)
    rgb = Image.fromarray(random_.integers(0, 256, (23, 29, 3)).astype(np.uint8))
    grey16 = Image.fromarray(random_.integers(0, 65536, (23, 29)).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    note = PngImagePlugin.PngInfo()
    note.add_text("Raw profile type exif", "\nexif\n 8\n4949", zip=True)
    note.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="3"/>')
    frames = [rgb, rgb.rotate(90), rgb.rotate(180)]
    made: tuple[tuple[str, Image.Image, dict[str, Any]], ...] = (
        ("JPEG", rgb, {"exif": exif}),
        ("JPEG", rgb, {"progressive": True}),
        ("JPEG", rgb.convert("CMYK"), {}),
        ("JPEG", rgb.convert("L"), {}),
        ("PNG", rgb, {"pnginfo": note}),
        ("PNG", rgb.convert("RGBA"), {"exif": exif}),
        ("PNG", rgb.convert("P"), {"transparency": 3}),
        ("PNG", grey16, {}),
        ("PNG", rgb, {"save_all": True, "append_images": frames[1:]}),
        ("WEBP", rgb, {"exif": exif}),
        ("WEBP", rgb.convert("RGBA"), {"lossless": True}),
        ("WEBP", rgb, {"save_all": True, "append_images": frames[1:]}),
        ("GIF", rgb.convert("P"), {"save_all": True, "append_images": [frame.convert("P") for frame in frames[1:]]}),
        ("GIF", rgb.convert("L"), {"interlace": 1}),
        ("TIFF", rgb, {"exif": exif}),
        ("TIFF", rgb, {"compression": "tiff_lzw"}),
        ("TIFF", rgb, {"compression": "tiff_adobe_deflate"}),
        ("TIFF", rgb, {"compression": "jpeg"}),
        ("TIFF", grey16, {"save_all": True, "append_images": [grey16]}),
        ("TIFF", rgb.convert("1"), {"compression": "group4"}),
        ("BMP", rgb, {}),
        ("BMP", rgb.convert("P"), {}),
        *((("AVIF", rgb, {}),) if features.check("avif") else ()),
    )
    for name, picture, options in made:
        written = io.BytesIO()
        picture.save(written, name, **options)
        yield name, written.getvalue()


def damaged(data: bytes, random_: random.Random) -> bytes:
    """Return ``data`` with some bytes changed, dropped, inserted or repeated, or cut off."""
    if random_.random() < 0.15:
        return data[: random_.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 2, 4, 16))):
        # Where the headers are, more often.
        at = random_.randrange(min(len(changed), random_.choice((32, 128, len(changed)))))
        kind = random_.randrange(6)
        if kind == 0:
            changed[at] ^= 1 << random_.randrange(8)
        elif kind == 1:
            changed[at] = random_.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            value = random_.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, random_.getrandbits(32)))
            changed[at : at + 4] = value.to_bytes(4, random_.choice(("little", "big")))
        elif kind == 3:
            del changed[at : at + random_.randrange(1, 16)]
            changed = changed or bytearray(1)
        elif kind == 4:
            changed[at:at] = random_.randbytes(random_.randrange(1, 16))
        else:
            source = random_.randrange(len(changed))
            changed[at : at + 16] = changed[source : source + 16]
    return bytes(changed)


def main(first: int, count: int) -> None:
    pictures = list(originals())
    outcomes: Counter[str] = Counter()
    escaped: dict[str, str] = {}
    for number in range(first, first + count):
        random_ = random.Random(number)
        name, data = pictures[number % len(pictures)]
        data = damaged(data, random_)
        faulthandler.dump_traceback_later(_HANGS_S, exit=True)
        try:
            preprocess(data, random_.choice(_SPECS))
            outcomes[f"{name} decoded"] += 1
        except ImageError as error:
            assert "\n" not in str(error)
            outcomes[f"{name} refused"] += 1
        except Exception as error:
            escaped[str(number)] = f"{name}: {type(error).__name__}: {error}"
        faulthandler.cancel_dump_traceback_later()
    json.dump({"outcomes": outcomes, "escaped": escaped}, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
