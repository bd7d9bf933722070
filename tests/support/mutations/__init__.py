"""Mistakes that people and programs make in resources: what, where, and where it must be told."""
