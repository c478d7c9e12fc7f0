"""Which pictures there are: folders, manifests, a million names in little memory. No pixel is read here.

May use: `edge.errors` and `devices.manifests`.
Read first: dataset.py.
"""
