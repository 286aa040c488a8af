"""The deterministic simulation: the real Loader and Delivery over a fake Kafka and a fake ClickHouse, in virtual time.

A seed decides everything: who runs next, what fails, how, and for how long. `python -m tests.simulation --seed N
--trace` shows a run step by step; `--seeds N` runs many and prints what happened in them.
"""
