-- Modules that no proxy of the list served, so that go fetched them from their repositories, within
-- the last day, and what the entry before said.
SELECT
    module,
    a.proxy AS after,
    ifNull(a.error_type, 'unknown') AS reason,
    sum(weight) AS fetches,
    uniqExact(build) AS builds,
    uniqExact(host) AS hosts
FROM chains
ARRAY JOIN attempts AS a
WHERE time >= now() - INTERVAL 1 DAY AND NOT probe AND module != '' AND a.next = 'direct'
GROUP BY module, after, reason
ORDER BY fetches DESC, module, after, reason
LIMIT 200
