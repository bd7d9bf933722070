"""The files of instances: durable before acknowledged."""
