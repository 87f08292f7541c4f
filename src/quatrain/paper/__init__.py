"""The paper: its published numbers, and its way of counting what our modules do."""
