"""The parts of the HTML page of a report: its figures as SVG, and the contents of its sections."""
