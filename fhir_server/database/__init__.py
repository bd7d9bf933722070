"""Connections and transactions, for every room that keeps something."""
