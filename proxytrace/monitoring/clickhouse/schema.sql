-- Tables for what `proxytrace agent --clickhouse` inserts and `--ndjson` writes (proxytrace.fleet/v1).
-- For a cluster see cluster.sql. A batch that comes twice is known by its token, among the
-- last 1,000 of a table, and stored once.

CREATE DATABASE IF NOT EXISTS proxytrace;

-- A line for each command with go in it that was watched.
CREATE TABLE IF NOT EXISTS proxytrace.builds
(
    time         DateTime64(9, 'UTC')   CODEC(Delta, ZSTD),
    build        FixedString(32)        COMMENT 'names it, and is the trace id of its spans' CODEC(ZSTD),
    host         LowCardinality(String) CODEC(ZSTD),
    host_group   LowCardinality(String) COMMENT '--host-group' CODEC(ZSTD),
    container    String                 CODEC(ZSTD),
    pod          String                 CODEC(ZSTD),
    weight       Float64                COMMENT 'how many builds it stands for' CODEC(ZSTD),
    proxytrace   LowCardinality(String) CODEC(ZSTD),
    kernel       LowCardinality(String) CODEC(ZSTD),
    go_version   LowCardinality(String) CODEC(ZSTD),
    argv         Array(String)          CODEC(ZSTD),
    job          Map(LowCardinality(String), String) COMMENT 'the CI job, by OpenTelemetry''s names' CODEC(ZSTD),
    exit_code    Nullable(Int32)        CODEC(ZSTD),
    signal       Nullable(Int32)        CODEC(ZSTD),
    duration_ns  Nullable(UInt64)       CODEC(ZSTD),
    processes    UInt32                 CODEC(ZSTD),
    chains       UInt32                 CODEC(ZSTD),
    requests     UInt32                 CODEC(ZSTD),
    findings     UInt32                 CODEC(ZSTD),
    lost         UInt64                 CODEC(ZSTD),
    complete     Bool                   CODEC(ZSTD)
)
ENGINE = MergeTree
PARTITION BY toDate(time)
ORDER BY (host_group, host, time)
TTL toDateTime(time) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 1000, ttl_only_drop_parts = 1;

-- A line for each artifact of each module that a go command wanted, with the entries of GOPROXY that
-- were asked for it and the requests that were made.
CREATE TABLE IF NOT EXISTS proxytrace.chains
(
    time         DateTime64(9, 'UTC')   CODEC(Delta, ZSTD),
    build        FixedString(32)        CODEC(ZSTD),
    host         LowCardinality(String) CODEC(ZSTD),
    host_group   LowCardinality(String) CODEC(ZSTD),
    container    String                 CODEC(ZSTD),
    pod          String                 CODEC(ZSTD),
    weight       Float64                CODEC(ZSTD),
    proxytrace   LowCardinality(String) CODEC(ZSTD),
    go_version   LowCardinality(String) CODEC(ZSTD),
    chain        UInt32                 CODEC(ZSTD),
    module       String                 CODEC(ZSTD),
    version      String                 CODEC(ZSTD),
    artifact     LowCardinality(String) CODEC(ZSTD),
    outcome      LowCardinality(String) CODEC(ZSTD),
    probe        Bool                   COMMENT 'a query of another path that found nothing: no fetch' CODEC(ZSTD),
    duration_ns  Nullable(UInt64)       CODEC(ZSTD),
    attempts     Array(Tuple(
        proxy       LowCardinality(String),
        `index`     Nullable(UInt32),
        outcome     LowCardinality(String),
        error_type  LowCardinality(Nullable(String)),
        next        LowCardinality(Nullable(String)),
        duration_ns Nullable(UInt64),
        requests    Array(Tuple(
            cause       LowCardinality(String),
            host        LowCardinality(String),
            status      Nullable(UInt16),
            target_host LowCardinality(Nullable(String)),
            resent      Bool,
            protocol    LowCardinality(Nullable(String)),
            remote_addr LowCardinality(Nullable(String)),
            error_type  LowCardinality(Nullable(String)),
            duration_ns Nullable(UInt64),
            ttfb_ns     Nullable(UInt64),
            body_ns     Nullable(UInt64),
            body_bytes  Nullable(UInt64)
        ))
    )) CODEC(ZSTD)
)
ENGINE = MergeTree
PARTITION BY toDate(time)
ORDER BY (host_group, module, version, time)
TTL toDateTime(time) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 1000, ttl_only_drop_parts = 1;

-- A line for each reason why something was wrong in a build.
CREATE TABLE IF NOT EXISTS proxytrace.findings
(
    time         DateTime64(9, 'UTC')   CODEC(Delta, ZSTD),
    build        FixedString(32)        CODEC(ZSTD),
    host         LowCardinality(String) CODEC(ZSTD),
    host_group   LowCardinality(String) CODEC(ZSTD),
    container    String                 CODEC(ZSTD),
    pod          String                 CODEC(ZSTD),
    weight       Float64                CODEC(ZSTD),
    proxytrace   LowCardinality(String) CODEC(ZSTD),
    go_version   LowCardinality(String) CODEC(ZSTD),
    code         LowCardinality(String) CODEC(ZSTD),
    slug         LowCardinality(String) CODEC(ZSTD),
    severity     LowCardinality(String) CODEC(ZSTD),
    role         LowCardinality(String) CODEC(ZSTD),
    confidence   LowCardinality(String) CODEC(ZSTD),
    chain        Nullable(UInt32)       CODEC(ZSTD),
    module       String                 CODEC(ZSTD),
    version      String                 CODEC(ZSTD),
    chains       UInt32                 COMMENT 'how many it is about' CODEC(ZSTD),
    proxy        LowCardinality(String) COMMENT 'the entry that was asked' CODEC(ZSTD),
    message      String                 CODEC(ZSTD)
)
ENGINE = MergeTree
PARTITION BY toDate(time)
ORDER BY (code, host_group, time)
TTL toDateTime(time) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 1000, ttl_only_drop_parts = 1;
