-- From the tables that the exporter of the OpenTelemetry Collector makes: findings by release of Go,
-- and by severity, as some have several, within the last week, beside how many builds began with that
-- release. A record or a span that came twice counts once.
SELECT
    f.go_version AS go_version,
    f.code AS code,
    f.severity AS severity,
    sum(f.weight) AS found,
    any(b.builds) AS builds,
    found / nullIf(builds, 0) AS per_build
FROM
(
    SELECT
        LogAttributes['go.version'] AS go_version,
        LogAttributes['proxytrace.finding.code'] AS code,
        SeverityText AS severity,
        1 / toFloat64(ResourceAttributes['proxytrace.sample.share']) AS weight
    FROM otel.otel_logs
    WHERE Timestamp >= now() - INTERVAL 7 DAY AND ServiceName = 'proxytrace' AND code != ''
    LIMIT 1 BY TraceId, SpanId, code, severity, Body
) AS f
LEFT JOIN
(
    SELECT go_version, sum(weight) AS builds
    FROM
    (
        SELECT
            SpanAttributes['go.version'] AS go_version,
            1 / toFloat64(ResourceAttributes['proxytrace.sample.share']) AS weight
        FROM otel.otel_traces
        WHERE Timestamp >= now() - INTERVAL 7 DAY AND ServiceName = 'proxytrace' AND ParentSpanId = ''
        LIMIT 1 BY TraceId
    )
    GROUP BY go_version
) AS b ON b.go_version = f.go_version
GROUP BY go_version, code, severity
ORDER BY go_version, found DESC, code, severity
LIMIT 500
