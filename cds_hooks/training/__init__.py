"""Training and evaluation, offline only: nothing that serves imports it."""
