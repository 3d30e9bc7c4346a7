"""Engines: each turns a specification and a study into a result."""
