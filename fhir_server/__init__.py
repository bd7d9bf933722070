"""Xinglin, an interoperability server for hospitals."""

__version__ = "0.1.0"
