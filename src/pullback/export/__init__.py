"""Trained networks for other programs: ONNX, a file that needs NumPy alone, the bare arrays."""

from .write import ENDINGS as ENDINGS
from .write import FORMATS as FORMATS
from .write import export as export
