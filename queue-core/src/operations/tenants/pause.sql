-- Pauses a tenant, whether or not it has been seen before, by whom ($2) and why ($3). A tenant that is paused
-- already keeps its time and its reason.
insert into queue.tenants (name, paused_at, paused_by, paused_why)
values ($1, statement_timestamp(), $2, $3)
on conflict (name) do update
set paused_at = excluded.paused_at, paused_by = excluded.paused_by, paused_why = excluded.paused_why
where tenants.paused_at is null
