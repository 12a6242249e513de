-- Who paused a queue, and why.

alter table queue.queues add column paused_by text;
alter table queue.queues add column paused_why text;
