"""The facts of R4 4.0.1, loaded once, read-only."""
