-- Sets the weight of a tenant, whether or not it has been seen before.
insert into queue.tenants (name, weight)
values ($1, $2)
on conflict (name) do update
set weight = excluded.weight
where tenants.weight <> excluded.weight
