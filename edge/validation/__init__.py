"""What a model is worth on pictures: scores, paired runs, findings, reports as data and as text, generations.

May use: `edge.bench`, `edge.runtime` and below.
Read first: run.py, then paired.py, then outcome.py.
"""
