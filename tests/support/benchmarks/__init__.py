"""What the benchmarks share: their systems, meters, results and pages."""
