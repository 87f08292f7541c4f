"""Attention in four terms: build spatial attention from its factors, and study each one."""
