-- Records decisions about due times of the schedule $1, and says which of these times nobody had
-- decided about before. Only they may become jobs.
insert into queue.firings (recurring_job, due_at, since, outcome)
select $1, due_at, since, outcome
from unnest($2::timestamptz[], $3::timestamptz[], $4::text[]) as decided (due_at, since, outcome)
on conflict (recurring_job, due_at) do nothing
returning due_at
