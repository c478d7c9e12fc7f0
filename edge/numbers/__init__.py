"""Pure functions of arrays: metrics of every kind of output, intervals and tests.

May use: NumPy, and nothing of edgekit.
Read first: metrics.py, then statistics.py.
"""
