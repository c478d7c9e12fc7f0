"""The only room that calls TensorFlow's converter, calibrator and quantizer, and the one that edits their flatbuffers.

May use: `edge.artefact`, `quantize.loading`, `quantize.tf_private`.
Read first: conversion.py, then int8_file.py.
"""
