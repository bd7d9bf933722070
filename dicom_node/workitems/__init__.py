"""Workitems: the unified worklist and procedure step (PS3.4 Annex CC)."""
