"""What a person should know: the form that predictions, validations and calibration share."""

from __future__ import annotations

from dataclasses import dataclass

ERROR, WARNING, INFO = "error", "warning", "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something a person should know. ``severity``: ``error`` (the verdict is no), ``warning`` (it is in doubt) or ``info``."""

    check: str
    severity: str
    message: str
