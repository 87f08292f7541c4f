"""The paper: its published numbers and its counting convention, applied to our modules."""
