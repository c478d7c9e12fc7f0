"""This machine, as every room needs it: processes of our own, memory, the cache, native code's stderr, damaged archives.

May use: `edge.errors` and the standard library.
Read first: child.py.
"""
