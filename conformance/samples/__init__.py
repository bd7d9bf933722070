"""Synthetic patients, US-Core-shaped and clinically coherent: `patients` for a demo, `resources` for load.

Pure Python, seeded and deterministic; nobody in here ever lived.
"""

from conformance.samples.streams import TEST_TAG, patients, resources

__all__ = ["TEST_TAG", "patients", "resources"]
