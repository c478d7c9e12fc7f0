"""Which pictures there are: folders, manifests, a million names in little memory. No pixel is read here.

May use: `edge.errors`, `devices.manifests` and `devices.links`.
Read first: dataset.py.
"""
