"""Fault runs: processes, load, judgement, results."""
