-- Roles with the least rights in ClickHouse, for a database that is named ugc. Safe to repeat. An administrator applies it
-- after ugc-migrate, and gives each user one role (docs/operating/permissions.md). No password is in here.

-- ugc-migrate: creates the database and its tables, and records the migrations.
CREATE ROLE IF NOT EXISTS ugc_migrate;
GRANT CREATE DATABASE ON ugc.* TO ugc_migrate;
GRANT CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW, ALTER TABLE, ALTER VIEW, SELECT, INSERT ON ugc.* TO ugc_migrate;
GRANT TABLE ENGINE ON * TO ugc_migrate;

-- ugc-etl: inserts rows, and reads which it has inserted.
CREATE ROLE IF NOT EXISTS ugc_etl;
GRANT SELECT, INSERT ON ugc.events TO ugc_etl;
GRANT SELECT, INSERT ON ugc.rejected_events TO ugc_etl;
-- Whether an insert of an earlier owner of a partition still runs.
GRANT SELECT ON system.processes TO ugc_etl;
-- Whether the servers of a cluster are those of UGC_ETL_SHARD_URLS.
GRANT SELECT ON system.clusters TO ugc_etl;
-- To find the events that ClickHouse rejects.
GRANT CREATE ARBITRARY TEMPORARY TABLE ON *.* TO ugc_etl;
GRANT TABLE ENGINE ON * TO ugc_etl;

-- ugc-audit and ugc-rewind: read.
CREATE ROLE IF NOT EXISTS ugc_audit;
GRANT SELECT ON ugc.* TO ugc_audit;

-- ugc-replay: reads rejected events, and records which it sends.
CREATE ROLE IF NOT EXISTS ugc_replay;
GRANT SELECT ON ugc.rejected_events TO ugc_replay;
GRANT SELECT, INSERT ON ugc.replayed_events TO ugc_replay;

-- Analysts: read within limits of time and memory, so that no query takes what inserts need.
CREATE ROLE IF NOT EXISTS ugc_reader;
GRANT SELECT ON ugc.* TO ugc_reader;
CREATE SETTINGS PROFILE IF NOT EXISTS ugc_reader SETTINGS readonly = 2,
    max_execution_time = 60 MAX 600, max_memory_usage = 1000000000 MAX 4000000000, max_threads = 2 MAX 4
    TO ugc_reader;
