"""A window that shows frames, by the tkinter that comes with Python. Nothing here is needed without a display."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Window:
    """Shows one frame after the other. `show` returns False once the user has closed it, or pressed q or Escape in it."""

    def __init__(self, title: str) -> None:
        """Raises ImportError without tkinter, RuntimeError without a display."""
        import tkinter

        self._tkinter = tkinter
        try:
            self._root: Any = tkinter.Tk()
        except tkinter.TclError as error:
            raise RuntimeError(f"no window can be opened here ({error})") from error
        self._root.title(title)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._picture: Any = None
        self._open = True
        self._root.protocol("WM_DELETE_WINDOW", self._quit)
        for key in ("q", "<Escape>"):
            self._root.bind(key, lambda _: self._quit())

    def show(self, drawn: NDArray[np.uint8]) -> bool:
        """Show a frame: uint8 ``(H, W, 3)`` RGB."""
        if self._open:
            height, width = drawn.shape[:2]
            # PPM is the one format that Tk reads from memory without a decoder.
            picture = self._tkinter.PhotoImage(data=b"P6 %d %d 255\n" % (width, height) + drawn.tobytes(), master=self._root)
            self._label.configure(image=picture)
            self._picture = picture  # Tk itself holds no reference
            self._root.update()
        return self._open

    def close(self) -> None:
        with contextlib.suppress(self._tkinter.TclError):
            self._root.destroy()

    def _quit(self) -> None:
        self._open = False


def has_display() -> bool:
    """Whether a window could be opened: X11 or Wayland says where."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
