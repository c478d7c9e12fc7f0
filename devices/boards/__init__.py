"""Facts about boards and accelerators, each with its source, and which board answers. Plain data.

May use: `devices.errors`, and nothing else of edgekit.
Read first: records.py, then profiles.py.
"""
