"""Data sets: where they come from, which images they hold, and how images are opened."""
