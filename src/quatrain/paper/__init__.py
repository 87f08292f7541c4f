"""The paper: its published numbers, their cost by our modules, and its findings."""
