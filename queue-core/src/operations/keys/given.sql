-- Replaces encrypted values in a column, each only if it is still the one that was found. Is followed by the
-- table. Locks rows in the order of the values.
with given as materialized (
    select *
    from unnest($1::bigint[], $2::text[], $3::smallint[], $4::text[], $5::text[])
        as given (job_id, name, occurrence, old, new)
), found as materialized (
    select place, new
    from given
    cross join lateral (
