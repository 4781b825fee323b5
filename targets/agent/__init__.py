"""What runs on the board: Python 3.8 or newer, numpy, Pillow and a TFLite runtime, nothing else.

Shipped as one zipapp.  Nothing here imports anything of ours from outside this folder; the host
imports `wire`, `plan`, `boxes`, `frames`, `inputs` and `expand` from here, so both sides speak one
schema and read pictures, boxes and packed weights with one piece of code.
"""
