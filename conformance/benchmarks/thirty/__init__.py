"""Thirty questions that a search has to answer, beside SQL written by hand for each of them."""
