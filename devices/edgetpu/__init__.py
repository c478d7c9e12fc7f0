"""What the Edge TPU compiler makes of a network: mapping, rules, on-chip memory, its logs. Pure functions.

May use: `devices.op_list`.
Read first: mapping.py, then ops.py.
"""
