-- Returns the settings of the server that the queue depends on, its connections, and how many ids are used.
select current_setting('fsync') = 'on' as fsync,
    current_setting('full_page_writes') = 'on' as full_page_writes,
    current_setting('synchronous_commit') as synchronous_commit,
    current_setting('autovacuum') = 'on' as autovacuum,
    current_setting('track_counts') = 'on' as track_counts,
    pg_is_in_recovery() as is_standby,
    current_setting('default_transaction_read_only') = 'on' as is_read_only,
    (select source from pg_settings where name = 'default_transaction_read_only') as read_only_by,
    current_setting('server_encoding') as encoding,
    (select sum(numbackends) from pg_stat_database)::bigint as connections,
    current_setting('max_connections')::bigint
        - current_setting('superuser_reserved_connections')::bigint as connections_max,
    (
        select last_value::float8 / max_value
        from pg_sequences
        where schemaname = $1
            and sequencename = 'job_seq'
    ) as ids_used
