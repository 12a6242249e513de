with taken as (
    delete from queue_limit.ready
    where ctid = any (array(
        select ctid from queue_limit.ready order by job_id limit BATCH for update skip locked
    ))
    returning job_id
), held as (
    insert into queue_limit.claimed select job_id, :client_id from taken
)
select coalesce(array_agg(job_id), '{}') as ids from taken \gset
with closed as (
    delete from queue_limit.claimed where job_id = any (:ids::bigint[]) returning job_id
)
insert into queue_limit.finished select job_id, now() from closed;
