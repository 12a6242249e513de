-- Fair shares between the tenants of a queue.

alter table queue.queues add column is_fair boolean not null default false;

-- What has been set for tenants. The weight is the number of jobs in a turn.
create table queue.tenants (
    paused_at  timestamptz,
    weight     smallint not null default 1 check (weight > 0),
    name       text collate "C" primary key,
    paused_by  text,
    paused_why text
);

-- The tenant, if the queue was fair when the job became ready. Such jobs wait on tracks of their own: 3, and
-- 4 for jobs with limits.
alter table queue.ready add column tenant text collate "C";

-- Serves claim_fair.sql, claim_front_fair.sql and tenants_in_turn.sql. It costs other jobs nothing.
create index ready_fair on queue.ready (queue, priority, track, tenant, seq) where track > 2;

-- Returns the names of the fair queues. Statements call it only about jobs with a tenant: a join would open
-- the table in each of them.
create function queue.fair_queues() returns text[] language sql stable parallel safe
    return array(select name from queue.queues where is_fair);

-- Returns the track of a ready job that was not blocked. The tenant is null if the queue is not fair.
create function queue.ready_track(limited boolean, tenant text) returns smallint
    language sql immutable parallel safe
    return (case when tenant is null then 0 else 3 end + limited::integer)::smallint;
