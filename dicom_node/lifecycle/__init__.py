"""What becomes of studies afterwards: deleted, rejected, restored, held, expired, corrected."""
