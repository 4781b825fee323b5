"""The host's side of a board: where it is, how to reach it, what to put on it, what it says.

`targets` may read `firmware_configs` and imports nothing of `toolchain`.
"""
