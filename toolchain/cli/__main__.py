"""`python -m toolchain.cli`: the same as `halfbyte`."""

from toolchain.cli.main import main

main()
