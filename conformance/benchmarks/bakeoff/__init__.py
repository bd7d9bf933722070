"""The bake-off behind docs/decisions/0001-search-index.md: layouts of the search index, side by side at scale.

`python -m conformance.benchmarks.bakeoff --resources 1000000 --data-dir DIR` loads synthetic records into every
layout in interleaved rounds, asks the same questions of each, and prints ratios. Ratios inside a round are sound;
absolute times are those of the machine and its neighbours.
"""
