-- Where jobs come from: the tenant, and as JSON the request, the user, the trace and further values.

alter table queue.jobs add column tenant text collate "C";
alter table queue.jobs add column context jsonb;

-- Serves inspect/jobs_of_tenant.sql. It costs jobs without a tenant nothing.
create index jobs_tenant on queue.jobs (tenant, id) where tenant is not null;

alter table queue.recurring_jobs add column tenant text collate "C";
alter table queue.recurring_jobs add column context jsonb;
