"""The host: checkpoints become flatbuffers, flatbuffers become runs, runs become reports.

Importing this package is cheap; torch, tensorflow and onnx are imported where they are used.
"""

__version__ = "0.1.0"
