-- The process that polls a queue. It looks for jobs of its kinds every few milliseconds, so enqueueing
-- such jobs need not notify idle processes. One process polls a queue at a time.

create table queue.pollers (
    queue      text collate "C" primary key,
    process_id uuid   not null,
    kinds      text[] not null
);
