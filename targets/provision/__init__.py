"""A board's own Python environment: interpreter, runtime, unpacked there without pip."""
