"""From a picture to a tensor to an answer: interpreters, the one preprocessing recipe, golden samples, files of somebody else's.

May use: `edge.artefact`, `edge.data`, `edge.numbers`, `edge.system`.
Read first: model.py, then preprocess.py, then loading.py.
"""
