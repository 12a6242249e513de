-- Which process polls which queue: it looks for jobs of some kinds every few milliseconds, so that
-- enqueueing one need not notify the processes that sleep. One process polls a queue at a time.

create table queue.pollers (
    queue      text collate "C" primary key,
    process_id uuid   not null,
    kinds      text[] not null
);
