"""A resource against the rules of R4 (R4/validation.html): resource in, issues out."""
