"""Requests that are answered later: who asked, how far they are, what they came to."""
