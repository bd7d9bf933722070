"""A resource against profiles (R4/profiling.html, R4/elementdefinition.html)."""
