"""Small copies of the images that were lost and won, to stand in the page itself."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from ..errors import EdgeError
from ..files import sha256_bytes
from ..runtime.images import open_rgb

SIDE = 144  # pixels: sharp at 96 CSS pixels on most screens
MOST_BYTES = 3 << 20  # of all pictures in a page, as they stand in it

_MOST_FILE_BYTES = 256 << 20
_TINY = 48  # a picture of so few pixels is kept as it is, and enlarged without smoothing


class Pictures:
    """Thumbnails as data URLs. ``folder``: look for the images there instead of where the validation found them.

    A report may be anybody's, and may name any folder as its data set, ``/`` too. So what is shown of a place that only the report
    names are files whose SHA-256 it knows: those that were validated, and no picture that whoever wrote it has not got himself.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder
        self._made: dict[tuple[str, str], str | None] = {}
        self._bytes = 0

    def get(self, dataset: str | None, image: str, sha256: str | None = None) -> str | None:
        """Return the picture of ``image`` (its id in the dataset), None where there is none to be had or no room left.

        sha256: of its content, as the report says; not asked for in a folder that the user named.
        """
        place = self._folder or dataset
        if place is None or (self._folder is None and sha256 is None):
            return None
        key = place, image
        if key not in self._made:
            wanted = sha256 if self._folder is None else None
            made = _thumbnail(Path(place), image, wanted) if self._bytes < MOST_BYTES else None
            self._bytes += len(made or "")
            self._made[key] = made
        return self._made[key]


def _thumbnail(place: Path, image: str, sha256: str | None) -> str | None:
    # The id comes from a report that may be anybody's: nothing outside the folder gets into the page.
    try:
        root = (place if place.is_dir() else place.parent).resolve()
        file = (root / image).resolve()
        if not file.is_relative_to(root) or not file.is_file() or file.stat().st_size > _MOST_FILE_BYTES:
            return None
        data = file.read_bytes()
        if sha256 is not None and sha256_bytes(data) != sha256:
            return None
        picture = open_rgb(data, needed=(SIDE, SIDE))
    except (EdgeError, OSError, ValueError, RuntimeError):  # a name with a zero byte, a loop of links
        return None
    written = io.BytesIO()
    if max(picture.size) <= _TINY:
        picture.save(written, "PNG", optimize=True)
        kind = "png"
    else:
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        picture.save(written, "JPEG", quality=78, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(written.getvalue()).decode()}"
