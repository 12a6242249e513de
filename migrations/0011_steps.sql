-- The results of finished steps. A job keeps them in every state, until it is cleared.

create table queue.steps (
    job_id      bigint      not null,
    finished_at timestamptz not null default clock_timestamp(),
    occurrence  integer     not null check (occurrence > 0),
    name        text        collate "C" not null,
    result      json        not null,
    primary key (job_id, name, occurrence)
);
