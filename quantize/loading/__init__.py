"""Any trained file becomes a `Source`: looked through before anything in it is loaded, described, checked against its contract.

May use: `edge`, `quantize.quiet`, `quantize.tf_private`. `load` is the function, hence the name of the room.
Read first: load.py, then source.py, then keras_files.py.
"""
