"""A batch's page and table for people: `summary.html`, `summary.csv`."""
