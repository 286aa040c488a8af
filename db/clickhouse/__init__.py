"""ClickHouse: migrations, configuration, a local server."""
