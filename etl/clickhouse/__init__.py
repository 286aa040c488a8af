"""ClickHouse: inserts, queries, probes, and the meaning of its errors."""
