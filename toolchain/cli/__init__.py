"""The command line: parses, calls one function of the pipeline, shows the result."""

from toolchain.cli.main import main

__all__ = ["main"]
