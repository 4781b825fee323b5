"""Flatbuffers of the TFLite schema: read, check, edit, write, and what is in them."""
