"""ClickHouse: its client, the migrations, and the queries of the audit and of replays."""
