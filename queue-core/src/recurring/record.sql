-- Records decisions about due times of the recurring job $1, and returns the due times that were not
-- decided before. Only these may become jobs.
insert into queue.firings (recurring_job, due_at, since, outcome)
select $1, due_at, since, outcome
from unnest($2::timestamptz[], $3::timestamptz[], $4::text[]) as decided (due_at, since, outcome)
on conflict (recurring_job, due_at) do nothing
returning due_at
