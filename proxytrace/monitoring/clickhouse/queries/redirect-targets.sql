-- Where proxies redirect to, by group of hosts, within the last day: what a firewall has to let out,
-- and how often it fails there. Who redirects further has not failed. What go sends again after a 4xx
-- is not counted where it comes to one again.
SELECT
    host_group,
    a.proxy AS proxy,
    r.target_host AS target_host,
    sum(weight) AS redirects,
    sumIf(weight, is_last AND a.outcome NOT IN ('ok', 'not-found', 'cached', 'canceled', 'unfinished', 'unknown', 'unverified')) AS failed,
    uniqExact(host) AS hosts
FROM
(
    SELECT
        host_group,
        host,
        weight,
        a,
        r,
        n = arrayLastIndex(one -> isNotNull(one.target_host) AND NOT one.resent, a.requests) AS is_last
    FROM chains
    ARRAY JOIN attempts AS a
    ARRAY JOIN a.requests AS r, arrayEnumerate(a.requests) AS n
    WHERE time >= now() - INTERVAL 1 DAY AND NOT probe
)
WHERE isNotNull(r.target_host) AND NOT r.resent
GROUP BY host_group, proxy, target_host
ORDER BY redirects DESC, host_group, proxy, target_host
LIMIT 200
