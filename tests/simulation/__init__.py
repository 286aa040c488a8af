"""The deterministic simulation: the real Loader and Delivery over a fake Kafka and a fake ClickHouse, in virtual time.

A seed determines everything: which process runs next, what fails, how, and for how long.
`python -m tests.simulation --seed N --trace` prints a run step by step; `--seeds N` runs many seeds and prints totals.
"""
