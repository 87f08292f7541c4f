"""Benchmarks against other libraries; each prints a table, or JSON with --json."""
