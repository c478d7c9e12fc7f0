"""Measuring on a board: the runtime's own commands there, with pictures sent once, and certificates that save runs.

May use: `devices.rollout`, `devices.doctor`, `devices.transport`.
Read first: remote.py, then run.py.
"""
