"""Cached feature packs: views of images, their maps from a frozen backbone, and the files."""
