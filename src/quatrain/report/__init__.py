"""Reports of a study: tables, plots and one HTML page, from records, manifest and run folders."""
