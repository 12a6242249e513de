-- Counts of runs that have ended, for charts. Processes append them, and maintenance adds them up.
--
-- at    the beginning of the minute, hour or day
-- span  how many minutes the row is about: 1, 60 or 1440; 0 for a row that a process appended
-- queue and kind  '*' for the sum over all, empty for those beyond the thousand most frequent pairs
create table queue.counts (
    at        timestamptz not null,
    done      bigint      not null,
    discarded bigint      not null,
    cancelled bigint      not null,
    failed    bigint      not null,
    retried   bigint      not null,
    waited_ms bigint      not null,
    ran_ms    bigint      not null,
    span      smallint    not null,
    queue     text collate "C" not null,
    kind      text collate "C" not null
);

-- Serves counts/fold.sql.
create index counts_fold on queue.counts (span, at);

-- Serves counts/bars.sql.
create index counts_bars on queue.counts (queue, at);
