"""Terminology as a library: JSON and a connection in, answers out. Imports nothing of ours."""
