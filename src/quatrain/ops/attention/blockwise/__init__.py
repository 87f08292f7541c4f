"""Attention one block of queries at a time: exact, with the memory of one block."""
