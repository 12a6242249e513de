-- Alerts that were sent or are to be sent. Only processes with [alerts] send them.
--
-- told_at  when it was sent that something is wrong
-- over_at  since when nothing is wrong any more; the row is removed when that was sent
create table queue.alerts (
    begun_at timestamptz not null default statement_timestamp(),
    told_at  timestamptz,
    over_at  timestamptz,
    kind     text        not null,
    subject  text collate "C" not null,
    text     text        not null,
    constraint alerts_pkey primary key (kind, subject)
);

-- The only row says until when one process has the turn to look for alerts and to send them.
create table queue.alert_turn (
    is_only boolean     not null default true check (is_only),
    until   timestamptz not null,
    constraint alert_turn_pkey primary key (is_only)
);
