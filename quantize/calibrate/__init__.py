"""Which pictures set the ranges, what the tensors did on them, and the corrections that follow.

May use: `quantize.tflite`, `quantize.loading`, `edge`.
Read first: representative.py, then activations.py, then auto_ranges.py.
"""
