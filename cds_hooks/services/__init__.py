"""The decision services: one service, one file."""
