"""Attention in four terms: build spatial attention from its factors, and study each one."""

__version__ = "0.2.0"
