"""The file: a flatbuffer, its graph, the contract that travels with it, and the container that holds both together.

May use: `edge.system`, `edge.files`, `edge.schema`. Nothing here runs a model.
Read first: contract.py, then container.py, then graph.py.
"""
