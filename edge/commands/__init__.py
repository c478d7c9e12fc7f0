"""The commands of the runtime: each a module with ``add_parser``, and the flags that several share.

May use: every room of `edge`, inside ``run``, so that ``--help`` is instant.
Read first: validate.py, then model_flags.py.
"""
