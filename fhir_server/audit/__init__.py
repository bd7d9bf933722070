"""Who did what to which resource."""
