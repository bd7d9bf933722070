"""What value sets hold."""
