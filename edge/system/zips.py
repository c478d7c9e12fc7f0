"""What ``zipfile`` is known to raise for archives that it cannot read: damaged, encrypted (RuntimeError), of a later format
(NotImplementedError). Apart, as it takes time to import.
"""

from __future__ import annotations

import struct
import zipfile
import zlib

DAMAGED = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error),
    *(EOFError, KeyError, IndexError, NotImplementedError, OSError, OverflowError, RuntimeError, ValueError),
)
