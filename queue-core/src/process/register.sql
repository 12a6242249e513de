-- Adds the row of a process, and the version of its kinds where that is new. Repeated when the first answer was
-- lost. Of each kind that has a new version, the twenty newest versions stay.
-- Locks the rows of versions in the order of their kinds.
with known as (
    select kind from jsonb_array_elements_text($6::jsonb -> 'kinds') as known (kind) order by kind
), seen as (
    insert into queue.kind_versions (kind, version)
    select kind, $5 from known
    on conflict (kind, version) do nothing
    returning kind
), forgotten as (
    delete from queue.kind_versions
    where ctid = any (array(
        select old.place
        from seen
        cross join lateral (
            select kind_versions.ctid as place
            from queue.kind_versions
            where kind_versions.kind = seen.kind
            order by kind_versions.first_seen_at desc
            offset 19
        ) as old
    ))
)
insert into queue.processes (id, pid, name, host, version, details)
values ($1, $2, $3, $4, $5, $6)
on conflict (id) do nothing
