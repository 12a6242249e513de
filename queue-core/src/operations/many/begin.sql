-- Begins an operation, and returns its number.
insert into queue.operations (action, filter, who, role, why, counted, counted_at_least)
values ($1, $2, $3, $4, $5, $6, $7)
returning id
