"""One search parameter type, one file (R4/search.html#ptypes)."""
