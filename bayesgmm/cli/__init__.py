"""Command line: the whole analysis from files and a model card."""

from bayesgmm.cli.application import app, main

__all__ = ["app", "main"]
