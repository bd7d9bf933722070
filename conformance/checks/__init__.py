"""Checks by chapter of the specifications."""
