"""Modules that own parameters, each beside the frozen spec that describes it."""
