"""What the CDS service keeps: calls, feedback, model states."""
