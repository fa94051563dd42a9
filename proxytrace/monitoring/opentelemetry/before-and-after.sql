-- From the table that the exporter of the OpenTelemetry Collector makes: what a change did, host by
-- host: the hour before it against the hour after. What counts, and how often, is as in hosts-now.sql.
-- clickhouse-client --param_change='2026-01-02 03:04:05' --queries-file before-and-after.sql
SELECT
    host,
    sumIf(weight, before) AS requests_before,
    sumIf(weight, NOT before) AS requests_after,
    sumIf(weight, before AND failed) / nullIf(requests_before, 0) AS failed_before,
    sumIf(weight, NOT before AND failed) / nullIf(requests_after, 0) AS failed_after,
    quantileExactWeightedIf(0.95)(Duration, toUInt64(round(weight)), before) / 1e9 AS p95_before,
    quantileExactWeightedIf(0.95)(Duration, toUInt64(round(weight)), NOT before) / 1e9 AS p95_after,
    failed_after - failed_before AS difference
FROM
(
    SELECT
        SpanAttributes['server.address'] AS host,
        Duration,
        Timestamp < {change:DateTime('UTC')} AS before,
        StatusCode = 'Error' AS failed,
        1 / toFloat64(ResourceAttributes['proxytrace.sample.share']) AS weight
    FROM otel.otel_traces
    WHERE Timestamp >= {change:DateTime('UTC')} - INTERVAL 1 HOUR
      AND Timestamp < {change:DateTime('UTC')} + INTERVAL 1 HOUR
      AND ServiceName = 'proxytrace' AND SpanKind = 'Client' AND SpanName != 'CONNECT'
    LIMIT 1 BY TraceId, SpanId
)
GROUP BY host
ORDER BY difference DESC, host
LIMIT 100
