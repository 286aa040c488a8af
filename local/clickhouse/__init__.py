"""ClickHouse as a local process."""
