"""The hooks we serve and the context that each one carries (CDS Hooks 2.0 hook library)."""
