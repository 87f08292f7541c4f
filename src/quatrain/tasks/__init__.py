"""Task families: data, metric and task of each in a folder of its own."""
