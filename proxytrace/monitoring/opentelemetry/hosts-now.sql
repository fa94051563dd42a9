-- From the table that the exporter of the OpenTelemetry Collector makes: hosts that fail most, within
-- the last hour, redirect targets included; what go sends again after a 4xx is counted, too. A span
-- that came twice counts once. What a forward proxy answered to CONNECT is not the host's doing: that
-- is left out, as in http_client_request_duration_seconds.
SELECT
    SpanAttributes['server.address'] AS host,
    sum(weight) AS requests,
    sumIf(weight, StatusCode = 'Error') AS failed,
    quantileExactWeighted(0.95)(Duration, toUInt64(round(weight))) / 1e9 AS p95_seconds,
    topKIf(3)(SpanAttributes['error.type'], StatusCode = 'Error') AS reasons
FROM
(
    SELECT SpanAttributes, StatusCode, Duration, 1 / toFloat64(ResourceAttributes['proxytrace.sample.share']) AS weight
    FROM otel.otel_traces
    WHERE Timestamp >= now() - INTERVAL 1 HOUR AND ServiceName = 'proxytrace' AND SpanKind = 'Client' AND SpanName != 'CONNECT'
    LIMIT 1 BY TraceId, SpanId
)
GROUP BY host
ORDER BY failed DESC, host
LIMIT 50
