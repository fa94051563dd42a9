-- Findings by release of Go, and by severity, as some have several, within the last week, beside how
-- many builds had something of that release in them: go may switch toolchains within a build.
SELECT
    f.go_version AS go_version,
    f.code AS code,
    any(f.slug) AS slug,
    f.severity AS severity,
    sum(f.weight) AS found,
    any(b.builds) AS builds,
    found / nullIf(builds, 0) AS per_build
FROM findings AS f
GLOBAL LEFT JOIN
(
    SELECT go_version, sum(weight) AS builds
    FROM
    (
        SELECT build, go_version, weight FROM builds WHERE time >= now() - INTERVAL 7 DAY
        UNION DISTINCT
        SELECT build, go_version, weight FROM chains WHERE time >= now() - INTERVAL 7 DAY
    )
    GROUP BY go_version
) AS b ON b.go_version = f.go_version
WHERE f.time >= now() - INTERVAL 7 DAY
GROUP BY go_version, code, severity
ORDER BY go_version, found DESC, code, severity
LIMIT 500
