-- Finds the rights on the schema $1 that a role lacks, and returns a row for each grant that would give
-- them. Looks at the roles of sessions whose application is named in $2, or, if that is null, at the role of
-- this session. A role that may write no table only inspects: it needs to read the tables, but not the key
-- that signs forms.
with role as (
    select oid, rolname,
        exists (
            select
            from pg_class
            where relnamespace = to_regnamespace($1)
                and relkind = 'r'
                and has_table_privilege(pg_roles.oid, pg_class.oid, 'insert, update, delete')
        ) as writes
    from pg_roles
    where case
        when $2::text[] is null then rolname = current_user
        else oid in (
            select usesysid
            from pg_stat_activity
            where datname = current_database()
                and application_name = any ($2)
        )
    end
), lacking as (
    select rolname, 'schema' as class, nspname::text as name, 'usage' as privilege
    from role
    cross join pg_namespace
    where nspname = $1
        and not has_schema_privilege(role.oid, pg_namespace.oid, 'usage')
    union all
    select rolname, 'table', format('%s.%I', $1, relname), privilege
    from role
    cross join pg_class
    cross join unnest('{select,insert,update,delete}'::text[]) as privilege
    where relnamespace = to_regnamespace($1)
        and relkind = 'r'
        and case
            when writes then privilege = 'select' or relname <> 'migrations'
            else privilege = 'select' and relname <> 'signing_key'
        end
        and not has_table_privilege(role.oid, pg_class.oid, privilege)
    union all
    select rolname, 'sequence', format('%s.%I', $1, relname), privilege
    from role
    cross join pg_class
    cross join unnest('{usage,select}'::text[]) as privilege
    where relnamespace = to_regnamespace($1)
        and relname = 'job_seq'
        and writes
        and not has_sequence_privilege(role.oid, pg_class.oid, privilege)
), object as (
    select rolname, class, name, string_agg(privilege, ', ' order by privilege) as privileges
    from lacking
    group by rolname, class, name
)
select quote_ident(rolname) as role, class, privileges, string_agg(name, ', ' order by name) as names
from object
group by rolname, class, privileges
order by rolname, class, privileges
