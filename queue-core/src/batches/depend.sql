-- Makes jobs ($2) wait for jobs or a batch ($1), by a rule ($3).
insert into queue.dependencies (on_id, job_id, rule)
select on_id, job_id, rule
from unnest($1::bigint[], $2::bigint[], $3::text[]) as given (on_id, job_id, rule)
on conflict do nothing
