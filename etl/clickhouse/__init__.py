"""ClickHouse: inserts, queries, probes, and the meaning of its errors."""

import os

# The driver reads this when it is imported. Its table of all dates takes 0.1 s and 20 MB; this one fills with use.
os.environ.setdefault("CLICKHOUSE_DRIVER_LASY_DATE_LUT", "empty")
