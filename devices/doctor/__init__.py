"""Looking at a board without changing it: what it is, what is wrong with it, and the command that mends it.

May use: `devices.transport`, `devices.boards`.
Read first: probe.py, then examine.py.
"""
