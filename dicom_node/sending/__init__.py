"""The way out: instances of the archive to other application entities (C-STORE SCU)."""
