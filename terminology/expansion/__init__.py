"""What a ValueSet holds (R4/valueset.html#compositions)."""
