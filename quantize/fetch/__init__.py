"""Published files: downloaded once, verified each time, unpacked beside.

May use: `edge.files`, `edge.progress` and the standard library.
Read first: fetch.py, then download.py.
"""
