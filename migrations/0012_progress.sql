-- How far running jobs are: their cursors, and under names with `@` what else they note while they run. A
-- row is overwritten in place, so half of each page is left free.

create table queue.progress (
    job_id bigint      not null,
    set_at timestamptz not null,
    name   text        collate "C" not null,
    value  json        not null,
    primary key (job_id, name)
) with (fillfactor = 50);

-- A step that failed and has tries left ends a run, too.
alter table queue.attempts drop constraint attempts_ending_check;
alter table queue.attempts add constraint attempts_ending_check check (
    ending in ('error', 'panic', 'timeout', 'crash', 'cancelled', 'undecodable', 'step')
);
