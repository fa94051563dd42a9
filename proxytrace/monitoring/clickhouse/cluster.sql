-- The same tables on a cluster, with the columns of schema.sql, which comes first (on every server).
-- `{cluster}`, `{shard}` and `{replica}` are the servers' macros. Agents insert into the database
-- proxytrace_cluster, and queries are asked of it; a build is on one shard. With
-- `--clickhouse 'http://…/?database=proxytrace_cluster&distributed_foreground_insert=1'` agents hear
-- from the shards, and not from a server that has yet to pass on what it took.
--
-- A batch that comes twice is known by whichever replica it comes to, for as many batches of its shard
-- as the release keeps in mind (`replicated_deduplication_window`, 1,000 or 10,000: on a busy shard an
-- hour or less), and no longer than a week: by default recent releases forget after an hour, and an
-- agent that heard no answer may be back only after the weekend.

CREATE DATABASE IF NOT EXISTS proxytrace_local ON CLUSTER '{cluster}';
CREATE DATABASE IF NOT EXISTS proxytrace_cluster ON CLUSTER '{cluster}';

CREATE TABLE IF NOT EXISTS proxytrace_local.builds ON CLUSTER '{cluster}' AS proxytrace.builds
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/proxytrace/builds', '{replica}')
PARTITION BY toDate(time)
ORDER BY (host_group, host, time)
TTL toDateTime(time) + INTERVAL 90 DAY
SETTINGS replicated_deduplication_window_seconds = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS proxytrace_local.chains ON CLUSTER '{cluster}' AS proxytrace.chains
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/proxytrace/chains', '{replica}')
PARTITION BY toDate(time)
ORDER BY (host_group, module, version, time)
TTL toDateTime(time) + INTERVAL 30 DAY
SETTINGS replicated_deduplication_window_seconds = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS proxytrace_local.findings ON CLUSTER '{cluster}' AS proxytrace.findings
ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/proxytrace/findings', '{replica}')
PARTITION BY toDate(time)
ORDER BY (code, host_group, time)
TTL toDateTime(time) + INTERVAL 90 DAY
SETTINGS replicated_deduplication_window_seconds = 604800, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS proxytrace_cluster.builds ON CLUSTER '{cluster}' AS proxytrace.builds
ENGINE = Distributed('{cluster}', 'proxytrace_local', 'builds', cityHash64(build));

CREATE TABLE IF NOT EXISTS proxytrace_cluster.chains ON CLUSTER '{cluster}' AS proxytrace.chains
ENGINE = Distributed('{cluster}', 'proxytrace_local', 'chains', cityHash64(build));

CREATE TABLE IF NOT EXISTS proxytrace_cluster.findings ON CLUSTER '{cluster}' AS proxytrace.findings
ENGINE = Distributed('{cluster}', 'proxytrace_local', 'findings', cityHash64(build));
