"""Structured reports (PS3.3 A.35, C.17; PS3.16): content trees, what they measure, how they read."""
