"""What is stale, what changed between two commits, and what to cite of a number."""
