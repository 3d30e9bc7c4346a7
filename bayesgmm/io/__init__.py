"""Readers of the file formats a study comes in."""
