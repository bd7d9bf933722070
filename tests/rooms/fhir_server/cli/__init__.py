"""Tests of the command line, with real processes and real signals."""
