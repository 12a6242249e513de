-- Finds the tables of the schema $1 with more than $2 dead rows, and more dead rows than live ones.
select format('%I.%I', schemaname, relname) as name, n_live_tup as live, n_dead_tup as dead,
    extract(epoch from clock_timestamp() - greatest(last_vacuum, last_autovacuum))::float8
        as vacuumed_seconds
from pg_stat_all_tables
where schemaname = $1
    and n_dead_tup > $2
    and n_dead_tup > n_live_tup
order by n_dead_tup desc
