"""Threads and CPUs of a model on a board, chosen by measuring and remembered."""
