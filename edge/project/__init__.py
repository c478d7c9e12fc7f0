"""What the command line knows of the user's project: defaults from ``edgekit.toml``, and what to do next. Not for boards.

May use: `edge.data`, and what stands below it.
Read first: settings.py, then defaults.py.
"""
