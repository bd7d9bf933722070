"""Pixel data to pictures (PS3.3 C.7.6.3, C.11)."""
