"""Tiny models that ask a TFLite runtime what it takes, whether it is right, and how fast it is."""
