"""Forwarding: rules that send instances on, and the durable queue between them and the peers."""
