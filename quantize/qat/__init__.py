"""Quantization-aware training: a bridged network, fake quantization where the file has tensors, and the file itself.

May use: `quantize.ptq`, `quantize.calibrate`, `quantize.tflite`, `quantize.loading`.
Read first: api.py, then run.py, then scheme.py.
"""
