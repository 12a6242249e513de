-- How many jobs have been in each state, for charts. One process samples each minute.
--
-- at    the beginning of the minute, hour or day
-- span  how many minutes the row is about: 1, 60 or 1440; it has the most of the samples of that time
-- queue '*' for all queues, empty for those beyond the thousand with the most jobs
-- oldest_ms  how long the oldest ready job had been ready; null without ready jobs
-- is_least   whether counting stopped at a bound, so that there were more
create table queue.depths (
    at        timestamptz not null,
    ready     bigint      not null,
    scheduled bigint      not null,
    blocked   bigint      not null,
    running   bigint      not null,
    failed    bigint      not null,
    oldest_ms bigint,
    span      smallint    not null,
    is_least  boolean     not null,
    queue     text collate "C" not null,
    primary key (span, queue, at)
);

-- Serves the clearing in depths/sample.sql.
create index depths_clear on queue.depths (span, at);
