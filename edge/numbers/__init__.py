"""Pure functions: metrics of every kind of output, intervals and tests, and how figures look in a notebook (`markup`).

May use: NumPy, and nothing of edgekit.
Read first: metrics.py, then statistics.py.
"""
