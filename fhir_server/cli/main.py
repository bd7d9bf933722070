"""`xinglin`: the table of sub-commands."""

from __future__ import annotations


def main(arguments: list[str] | None = None) -> int:
    """Run one sub-command and return its exit code: 0 done, 1 refused or failed, 2 wrong usage."""
    return 2
