-- Finds the sessions, replication slots and prepared transactions that have kept vacuum from removing dead
-- rows of this database for longer than $1 ms. An ordinary role does not see when transactions of other
-- roles began: those are found if more than $2 transactions have begun since. The text of their statements
-- is not read: it may hold personal data.
select *
from (
    select 'session' as holder, pid::text as name, application_name, state,
        extract(epoch from clock_timestamp() - xact_start)::float8 as seconds,
        greatest(age(backend_xmin), age(backend_xid)) as transactions
    from pg_stat_activity
    where pid <> pg_backend_pid()
        and (datname = current_database() or datname is null)
        and (backend_xmin is not null or backend_xid is not null)
        and backend_type is distinct from 'autovacuum worker'
    union all
    select 'slot', slot_name, null, case when active then 'active' else 'inactive' end, null,
        age(xmin)
    from pg_replication_slots
    where xmin is not null
    union all
    select 'prepared', gid, null, null,
        extract(epoch from clock_timestamp() - prepared)::float8, age(transaction)
    from pg_prepared_xacts
    where database = current_database()
) as held
where seconds * 1000 > $1
    or (seconds is null and transactions > $2)
order by seconds desc nulls last, transactions desc
