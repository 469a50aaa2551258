"""Scoring a user's own images with a trained cell: the command ``osad predict``."""
