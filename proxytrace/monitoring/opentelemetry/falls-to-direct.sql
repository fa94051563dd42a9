-- From the table that the exporter of the OpenTelemetry Collector makes: modules that no proxy of the
-- list served, so that go fetched them from their repositories, within the last day, and what the entry
-- before said. A span that came twice counts once.
SELECT
    module,
    fallback['go.proxy.from'] AS after,
    fallback['error.type'] AS reason,
    sum(weight) AS fetches,
    uniqExact(TraceId) AS builds,
    uniqExact(host) AS hosts
FROM
(
    SELECT
        TraceId,
        ResourceAttributes['host.name'] AS host,
        SpanAttributes['go.module.path'] AS module,
        Events.Name AS names,
        Events.Attributes AS attributes,
        1 / toFloat64(ResourceAttributes['proxytrace.sample.share']) AS weight
    FROM otel.otel_traces
    WHERE Timestamp >= now() - INTERVAL 1 DAY AND ServiceName = 'proxytrace' AND module != ''
      AND SpanAttributes['proxytrace.probe'] != 'true'
    LIMIT 1 BY TraceId, SpanId
)
ARRAY JOIN names AS name, attributes AS fallback
WHERE name = 'go.proxy.fallback' AND fallback['go.proxy.to'] = 'direct'
GROUP BY module, after, reason
ORDER BY fetches DESC, module, after, reason
LIMIT 200
