-- What people are told when something is wrong, and when that is over. Only processes with [alerts] tell it.
--
-- told_at  when its beginning was told
-- over_at  since when it is over; the row is removed when that was told
create table queue.alerts (
    begun_at timestamptz not null default statement_timestamp(),
    told_at  timestamptz,
    over_at  timestamptz,
    kind     text        not null,
    subject  text collate "C" not null,
    text     text        not null,
    constraint alerts_pkey primary key (kind, subject)
);

-- The only row says until when it is the turn of one process to look and to tell.
create table queue.alert_turn (
    is_only boolean     not null default true check (is_only),
    until   timestamptz not null,
    constraint alert_turn_pkey primary key (is_only)
);
