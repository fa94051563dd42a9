-- From the table that the exporter of the OpenTelemetry Collector makes: where proxies redirect to, by
-- group of hosts, within the last day. What go sends again after a 4xx is counted, too. A span that
-- came twice counts once.
SELECT
    host_group,
    proxy,
    if(named = '', host, named) AS target_host,
    sum(weight) AS redirects,
    uniqExact(machine) AS hosts
FROM
(
    SELECT
        ResourceAttributes['proxytrace.host.group'] AS host_group,
        ResourceAttributes['host.name'] AS machine,
        SpanAttributes['go.proxy.entry'] AS proxy,
        SpanAttributes['server.address'] AS host,
        -- A list of one, which exporters write differently.
        extract(SpanAttributes['http.response.header.location'], '.*"([^"]*)"') AS location,
        lower(extract(location, '^(?:[A-Za-z][A-Za-z0-9+.-]*:)?//(?:[^/?#@]*@)?([^/?#]+)')) AS named,
        1 / toFloat64(ResourceAttributes['proxytrace.sample.share']) AS weight
    FROM otel.otel_traces
    WHERE Timestamp >= now() - INTERVAL 1 DAY AND ServiceName = 'proxytrace' AND SpanKind = 'Client'
      AND SpanAttributes['http.response.status_code'] IN ('301', '302', '303', '307', '308') AND location != ''
    LIMIT 1 BY TraceId, SpanId
)
GROUP BY host_group, proxy, target_host
ORDER BY redirects DESC, host_group, proxy, target_host
LIMIT 200
