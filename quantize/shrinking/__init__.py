"""A smaller network for the same task: which parts can go, the network without them, what the rest can make good, and the search.

May use: `quantize.ptq`, `quantize.analyse`, `quantize.qat`, `quantize.loading`, and what lies below.
Read first: structure.py and surgery.py, then ranking.py, search.py, distil.py and api.py.
"""
