-- How far running jobs are: their cursors, and under names with `@` what else they note while they run. A
-- row is overwritten in place, so half of each page is left free.

create table queue.progress (
    job_id bigint      not null,
    set_at timestamptz not null,
    name   text        collate "C" not null,
    value  json        not null,
    primary key (job_id, name)
) with (fillfactor = 50);

-- Events, of which the first one of a name stays. One is open until the jobs that wait for it are woken.
create table queue.events (
    emitted_at timestamptz not null,
    is_open    boolean     not null,
    name       text        collate "C" primary key,
    payload    json        not null
);
create index events_open on queue.events (name) where is_open;
create index events_clear on queue.events (emitted_at);

-- The event that each waiting job waits for: one that is scheduled with this attempt. A row of an earlier
-- attempt is of no importance.
create table queue.waits (
    job_id  bigint  primary key,
    attempt integer not null,
    event   text    collate "C" not null
);
create index waits_wake on queue.waits (event, job_id);

-- A step that failed and has tries left ends a run, too.
alter table queue.attempts drop constraint attempts_ending_check;
alter table queue.attempts add constraint attempts_ending_check check (
    ending in ('error', 'panic', 'timeout', 'crash', 'cancelled', 'undecodable', 'step')
);
