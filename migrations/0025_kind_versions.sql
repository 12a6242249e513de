-- When a program of each version that knows a kind was first seen. Each process adds what is new when it
-- registers, and forgets the oldest versions of a kind beyond twenty.
create table queue.kind_versions (
    first_seen_at timestamptz not null default clock_timestamp(),
    kind    text collate "C" not null,
    version text collate "C" not null,
    primary key (kind, version)
);
