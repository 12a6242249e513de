-- Returns in how many milliseconds a time comes, which is negative if it has passed.
select ceil(extract(epoch from $1 - statement_timestamp()) * 1000)::bigint
