"""Where the accuracy of an int8 file goes, and which blocks should stay in float.

May use: `quantize.ptq`, `quantize.calibrate`, `quantize.tflite`.
Read first: explain.py, then ladder.py, then tune.py.
"""
