"""Reaching a board: this machine, SSH, and one session with what `devices.onboard` does there.

May use: `devices.errors` and the plain text modules beside it.
Read first: shell.py, then session.py.
"""
