"""Small copies of the images that were lost and won, to stand in the page itself."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from ..errors import EdgeError
from ..images import open_rgb

SIDE = 144  # pixels: sharp at 96 CSS pixels on most screens
MOST_BYTES = 3 << 20  # of all pictures in a page, as they stand in it

_TINY = 48  # a picture of so few pixels is kept as it is, and enlarged without smoothing


class Pictures:
    """Thumbnails as data URLs. ``folder``: look for the images there instead of where the validation found them."""

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder
        self._made: dict[tuple[str, str], str | None] = {}
        self._bytes = 0

    def get(self, dataset: str | None, image: str) -> str | None:
        """Return the picture of ``image`` (its id in the dataset), None where there is none to be had or no room left."""
        place = self._folder or dataset
        if place is None:
            return None
        key = place, image
        if key not in self._made:
            made = _thumbnail(Path(place), image) if self._bytes < MOST_BYTES else None
            self._bytes += len(made or "")
            self._made[key] = made
        return self._made[key]


def _thumbnail(place: Path, image: str) -> str | None:
    # The id comes from a report that may be anybody's: nothing outside the folder gets into the page.
    root = (place if place.is_dir() else place.parent).resolve()
    file = (root / image).resolve()
    if not file.is_relative_to(root) or not file.is_file():
        return None
    try:
        picture = open_rgb(file, needed=(SIDE, SIDE))
    except (EdgeError, OSError):
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
