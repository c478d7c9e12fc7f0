"""Remembered runs: what a record holds, where it is stored, how it is read again. Not for boards.

May use: `edge.report_schema`, `edge.files` and below.
Read first: record.py, then store.py.
"""
