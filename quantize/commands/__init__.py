"""The commands of the workstation: each a module with ``add_parser``, and the flags that several share.

May use: every room of `quantize`, and `edge`, inside ``run``, so that ``--help`` is instant.
Read first: quantize.py, then source_flags.py.
"""
