"""Frames that come by themselves: cameras, videos, the drive loop, watching, throughput.

May use: `edge.bench`, `edge.runtime` and below.
Read first: frames.py, then drive.py, then watch.py.
"""
