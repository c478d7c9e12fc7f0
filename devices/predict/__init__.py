"""How fast a network will be on a board, whether it fits, and what would help. Pure functions, no files.

May use: `devices.boards`, `devices.edgetpu`, `devices.op_list`.
Read first: fit.py, then latency.py.
"""
