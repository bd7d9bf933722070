"""Resources become facts: codes, units, times and the newest relevant value."""
