"""Reports of a study: tables, figures and one HTML page, computed from its records."""
