"""Trained networks for other programs: as an ONNX model, as a file that needs NumPy alone."""

from .onnx import onnx_bytes as onnx_bytes
