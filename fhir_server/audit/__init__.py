"""AuditEvent resources: what all who write them have in common."""
