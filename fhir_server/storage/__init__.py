"""The only rooms that run SQL on resources."""
