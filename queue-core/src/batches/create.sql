-- Creates a batch, closed if $4. The parent $1 counts it as one of its jobs.
with batch as (
    insert into queue.batches (id, parent_id, name, metadata, closed_at)
    select nextval('queue.job_seq'), $1, $2, $3::text::jsonb,
        case when $4 then statement_timestamp() end
    from (values (1)) as once
    returning id
), counted as (
    insert into queue.deltas (target, added)
    select $1, 1
    from batch
    where $1 is not null
)
select id from batch
