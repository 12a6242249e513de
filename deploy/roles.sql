-- Three roles with no more rights than they need. Execute this after the first `queue migrate`, as the role that
-- runs it and so owns the tables. Only the owner runs later migrations; their tables are covered too.
--
--     psql --set ON_ERROR_STOP=1 --single-transaction --file roles.sql "$OWNER_URL"
--     psql --command "create role app login password '…' in role queue_worker" "$OWNER_URL"

-- For worker processes, the command line, and services that use all of the queue.
create role queue_worker;
grant usage on schema queue to queue_worker;
grant select, insert, update, delete on all tables in schema queue to queue_worker;
revoke insert, update, delete on queue.migrations from queue_worker;
grant usage, select on all sequences in schema queue to queue_worker;
alter default privileges in schema queue grant select, insert, update, delete on tables to queue_worker;
alter default privileges in schema queue grant usage, select on sequences to queue_worker;

-- For services that only enqueue jobs. It reads no arguments, and changes no job.
create role queue_enqueuer;
grant usage on schema queue to queue_enqueuer;
grant insert, select (id, priority, queue, kind, limits, tenant) on queue.jobs to queue_enqueuer;
grant insert on queue.ready, queue.scheduled, queue.blocked to queue_enqueuer;
grant select, insert, update on queue.unique_keys to queue_enqueuer;
grant select on queue.queues, queue.idle_processes, queue.pollers to queue_enqueuer;
grant usage on queue.job_seq to queue_enqueuer;

-- For people and programs that only look.
create role queue_viewer;
grant usage on schema queue to queue_viewer;
grant select on all tables in schema queue to queue_viewer;
revoke select on queue.signing_key from queue_viewer;
alter default privileges in schema queue grant select on tables to queue_viewer;
