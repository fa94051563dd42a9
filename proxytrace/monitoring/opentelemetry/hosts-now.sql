-- From the table that the exporter of the OpenTelemetry Collector makes: hosts that fail most, within
-- the last hour, redirect targets included; what go sends again after a 4xx is counted, too.
SELECT
    SpanAttributes['server.address'] AS host,
    sum(1 / toFloat64(ResourceAttributes['proxytrace.sample.share'])) AS requests,
    sumIf(1 / toFloat64(ResourceAttributes['proxytrace.sample.share']), StatusCode = 'Error') AS failed,
    quantileExactWeighted(0.95)(Duration, toUInt64(round(1 / toFloat64(ResourceAttributes['proxytrace.sample.share'])))) / 1e9 AS p95_seconds,
    topKIf(3)(SpanAttributes['error.type'], StatusCode = 'Error') AS reasons
FROM otel_traces
WHERE Timestamp >= now() - INTERVAL 1 HOUR AND ServiceName = 'proxytrace' AND SpanKind = 'Client'
GROUP BY host
ORDER BY failed DESC, host
LIMIT 50
