"""Whole networks, assembled from modules and described by specs."""
