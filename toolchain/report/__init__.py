"""The report: figures, doubts, then HTML, JSON, CSV and a table."""
