"""Measurements beside a floor or a peer."""
