"""What happened, as data: events, and what logs and metrics make of them."""
