"""FHIRPath (N1, with the R4 functions): knows no SQL and no HTTP."""
