-- A job has at most 32,767 steps of one name. The entries of the primary key are a quarter shorter.
alter table queue.steps alter column occurrence type smallint;
