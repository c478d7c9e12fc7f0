"""Symbolic links in a folder of pictures: which are followed, on the workstation and for what is sent to a board alike."""

from __future__ import annotations

from pathlib import Path


class LinkError(ValueError):
    """A link that is not followed. ``outside``: it leads out of the folder, which a user may allow."""

    def __init__(self, message: str, *, outside: bool) -> None:
        super().__init__(message)
        self.outside = outside


def check(path: Path, boundary: Path, *, follow_links: bool) -> None:
    """Raise LinkError where ``path`` is a link that leads to a folder above it, or out of ``boundary``.

    boundary: the folder of all pictures, resolved. follow_links: links out of it are followed.
    """
    if not path.is_symlink():
        return
    target = path.resolve()
    if path.is_dir() and target in (boundary, *boundary.parents, *(parent.resolve() for parent in path.parents)):
        raise LinkError(
            f"{path}: a symbolic link to a folder above it ({target}) would go round for ever; remove it", outside=False
        )
    if not follow_links and not target.is_relative_to(boundary):
        raise LinkError(f"{path}: a symbolic link that leads out of the dataset ({target})", outside=True)
