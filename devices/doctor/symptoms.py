"""What ``edgekit doctor`` finds: one thing to know, how bad it is, and the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """Something to know. ``severity`` is error (deploy will not work), warning or note; ``fix`` is a command, or empty."""

    check: str
    severity: str
    message: str
    fix: str


def error(check: str, message: str, fix: str = "") -> Symptom:
    """Return what must be mended before a deployment can work."""
    return Symptom(check=check, severity="error", message=message, fix=fix)


def warning(check: str, message: str, fix: str = "") -> Symptom:
    """Return what makes results doubtful, or something unusable."""
    return Symptom(check=check, severity="warning", message=message, fix=fix)


def note(check: str, message: str, fix: str = "") -> Symptom:
    """Return what is good to know."""
    return Symptom(check=check, severity="note", message=message, fix=fix)
