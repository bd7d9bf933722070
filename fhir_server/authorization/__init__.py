"""Who may do what: grants, and what they permit."""
