"""Orders, worklist, performed procedure steps, storage commitment."""
