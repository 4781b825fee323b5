"""A model that takes a while to expand."""

from tests.tflite.packing_cases import coded_filter, int8_model
from toolchain.quantize import coded
from toolchain.tflite.packed import pack


def packed_large():
    """One filter of 9 MB: its expanding takes long enough to be met."""
    codes = coded_filter("nibbles", (1024, 3, 3, 1024), seed=2)
    model, places = int8_model({"conv": coded.expand(codes)})
    return pack(model, {places["conv"]: codes})
