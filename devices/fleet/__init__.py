"""Who is meant: from words on a command line to machines, and the same work on several of them at once.

May use: `devices.virtual`, `devices.transport`.
Read first: targets.py, then fleet.py.
"""
