-- Limits: how many jobs of one key run at once, and how many start in a period.
--
-- A slot is a row (key, number), held by the job that was claimed with it. Numbers go from 1 to the
-- limit, so the tables cannot hold more jobs than a limit allows. The statement that moves the job out
-- of claimed removes its slots.

create table queue.slots (
    job_id     bigint  not null,
    expires_at timestamptz,
    number     integer not null check (number > 0),
    key        text collate "C" not null,
    constraint slots_pkey primary key (key, number)
);

-- The state of a rate limit: when the next start would be due if all starts so far had been spaced
-- evenly (GCRA). granted is the number of starts that the last claim was granted.
create table queue.rates (
    next_at timestamptz not null,
    space   interval    not null,
    burst   integer     not null,
    granted integer     not null,
    key     text collate "C" not null,
    constraint rates_pkey primary key (key)
) with (fillfactor = 50);

-- Limits set at run time, which override those that jobs were enqueued with. The name is a key, a group
-- of keys, or a queue or kind ('@queue/mail', '@kind/send_mail').
create table queue.limits (
    changed_at timestamptz not null default clock_timestamp(),
    space      interval check (space > interval '0'),
    slots      integer  check (slots >= 0),
    burst      integer  check (burst > 0),
    declared   boolean  not null,
    name       text collate "C" not null,
    constraint limits_pkey primary key (name),
    constraint limits_rate_whole check ((space is null) = (burst is null)),
    constraint limits_something check (slots is not null or space is not null)
);

-- Jobs whose key had no room when their turn came. seq is their place among the jobs of their key.
create table queue.blocked (
    job_id     bigint      not null,
    seq        bigint      not null,
    blocked_at timestamptz not null default clock_timestamp(),
    attempt    integer     not null,
    priority   smallint    not null,
    spent      smallint    not null,
    crashes    smallint    not null,
    frees_key  boolean     not null,
    replaces   boolean     not null,
    key        text collate "C" not null,
    queue      text collate "C" not null,
    kind       text collate "C" not null,
    constraint blocked_pkey primary key (job_id)
);

-- The jobs of a key, by queue and kind, in order. Serves unblock.sql, and claim_limited.sql, which looks
-- for blocked jobs of the same key before a job.
create index blocked_line on queue.blocked (key, queue, kind, priority, seq);

-- Serves claim_limited.sql: jobs that a later job of their key replaces.
create index blocked_replaceable on queue.blocked (key, job_id) where replaces;

-- Jobs that an operator ran despite their limits.
create table queue.bypasses (
    job_id bigint      not null,
    at     timestamptz not null default clock_timestamp(),
    constraint bypasses_pkey primary key (job_id)
);

alter table queue.jobs add column limits jsonb;

alter table queue.scheduled add column limited boolean not null default false;

-- track: 0 for jobs without limits, 1 for jobs with limits, 2 for jobs that were blocked before, by the
-- key in waited_for.
alter table queue.ready add column track smallint not null default 0;
alter table queue.ready add column waited_for text collate "C";

drop index queue.ready_claim;

-- Serves claim.sql and claim_limited.sql.
create index ready_claim on queue.ready (queue, priority, track, seq);

-- Serves unblock.sql, which counts the unblocked jobs, and claim_limited.sql, which lets no other job
-- overtake them.
create index ready_admitted on queue.ready (waited_for, queue, kind) where waited_for is not null;

-- The slots that a claim holds, by key and number.
alter table queue.claimed add column slots integer[];
alter table queue.claimed add column keys text[] collate "C";
alter table queue.claimed add constraint claimed_slots_whole
    check (cardinality(keys) = cardinality(slots));
