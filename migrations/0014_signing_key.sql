-- The key with which dashboards sign forms, made once. The table has at most one row.

create table queue.signing_key (
    is_only boolean     not null default true check (is_only),
    made_at timestamptz not null default clock_timestamp(),
    key     bytea       not null,
    primary key (is_only)
);
