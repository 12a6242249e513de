-- The rule by which the jobs of a recurring job are unique.

alter table queue.recurring_jobs add column unique_rule jsonb;
