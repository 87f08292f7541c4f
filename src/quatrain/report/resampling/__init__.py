"""The metric of finished runs on resampled test sets, from their files; no torch."""
