"""What becomes of scores: metrics, tables and figures, beside the published numbers."""
