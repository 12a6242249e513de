-- How far running jobs are: their cursors, and under names with `@` what else they note while they run. A
-- row is overwritten in place, so half of each page is left free.

create table queue.progress (
    job_id bigint      not null,
    set_at timestamptz not null,
    name   text        collate "C" not null,
    value  json        not null,
    primary key (job_id, name)
) with (fillfactor = 50);
