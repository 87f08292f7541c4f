"""Mutated files for each reader of untrusted files; `python tests/fuzz --help`."""
