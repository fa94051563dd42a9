-- What a change did, entry by entry: the hour before it against the hour after. Failed is a share of
-- what was served or failed: 404 and 410 are neither (worst-proxies-now.sql).
-- clickhouse-client --database proxytrace --param_change='2026-01-02 03:04:05' --queries-file before-and-after.sql
SELECT
    a.proxy AS proxy,
    sumIf(weight, before) AS fetches_before,
    sumIf(weight, NOT before) AS fetches_after,
    sumIf(weight, before AND failed) / nullIf(sumIf(weight, before AND (served OR failed)), 0) AS failed_before,
    sumIf(weight, NOT before AND failed) / nullIf(sumIf(weight, NOT before AND (served OR failed)), 0) AS failed_after,
    quantileExactWeightedIf(0.95)(a.duration_ns, toUInt64(round(weight)), before AND a.duration_ns IS NOT NULL) / 1e9 AS p95_before,
    quantileExactWeightedIf(0.95)(a.duration_ns, toUInt64(round(weight)), NOT before AND a.duration_ns IS NOT NULL) / 1e9 AS p95_after,
    failed_after - failed_before AS difference
FROM
(
    SELECT
        weight,
        a,
        time < {change:DateTime('UTC')} AS before,
        a.outcome = 'ok' AS served,
        a.outcome NOT IN ('ok', 'not-found', 'cached', 'canceled', 'unfinished', 'unknown', 'unverified') AS failed
    FROM chains
    ARRAY JOIN attempts AS a
    WHERE time >= {change:DateTime('UTC')} - INTERVAL 1 HOUR
      AND time < {change:DateTime('UTC')} + INTERVAL 1 HOUR
      AND NOT probe
)
GROUP BY proxy
ORDER BY difference DESC, proxy
LIMIT 100
