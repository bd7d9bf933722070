"""One migration, one file: frozen in time, imports nothing of ours."""
