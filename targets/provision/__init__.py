"""The board's own Python environment: which interpreter, which runtime, unpacked without pip there."""
