"""Black-box checks and benchmarks: speaks only by the wire, imports nothing of ours."""
