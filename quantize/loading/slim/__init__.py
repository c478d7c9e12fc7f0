"""TF-slim's Inception-ResNet-v2 from a frozen graph, a meta graph or a checkpoint. Nothing in them is run.

May use: `quantize.loading`.
Read first: source.py, then files.py.
"""
