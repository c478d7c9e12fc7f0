"""How long a model takes on this machine, and what the machine was like meanwhile.

May use: `edge.runtime` and below.
Read first: latency.py, then gauges.py.
"""
