-- The entries of GOPROXY that fail most, within the last hour. 404 and 410 are no failures: go takes
-- them for absence and asks on. What is unverified was served well, and the checksum database failed.
-- Of what is unfinished nobody knows: the build ended before it, as where a proxy says nothing.
SELECT
    a.proxy AS proxy,
    sum(weight) AS fetches,
    sumIf(weight, a.outcome = 'ok') AS served,
    sumIf(weight, a.outcome = 'not-found') AS absent,
    sumIf(weight, a.outcome NOT IN ('ok', 'not-found', 'cached', 'canceled', 'unfinished', 'unknown', 'unverified')) AS failed,
    sumIf(weight, a.outcome = 'unfinished') AS unfinished,
    served / nullIf(served + failed, 0) AS success_ratio,
    quantileExactWeightedIf(0.95)(a.duration_ns, toUInt64(round(weight)), a.duration_ns IS NOT NULL) / 1e9 AS p95_seconds,
    arraySort(groupUniqArrayIf(a.error_type, a.outcome NOT IN ('ok', 'not-found', 'cached', 'canceled', 'unfinished', 'unknown', 'unverified'))) AS reasons
FROM chains
ARRAY JOIN attempts AS a
WHERE time >= now() - INTERVAL 1 HOUR AND NOT probe
GROUP BY proxy
ORDER BY failed DESC, unfinished DESC, proxy
LIMIT 50
