-- The rule of rates, for the statements that claim and unblock jobs. A rate allows a start each `space`, and
-- up to `burst` at once after a pause; rates.next_at is when the next one would be due if all starts so far
-- had been evenly spaced (GCRA).

-- Returns when the next start is due, now at the earliest. A time beyond what the burst allows is left from
-- a rate that was slower, and does not count.
create function queue.next_start(
    next_at timestamptz, space interval, burst integer, now timestamptz
) returns timestamptz
    language sql stable parallel safe
    return case
        when next_at > now + burst * space + interval '1 second' then now
        else greatest(now, next_at)
    end;

-- Returns how many jobs may start now if the next start is due then. It is negative while starts are owed.
create function queue.free_starts(
    next_start timestamptz, space interval, burst integer, now timestamptz
) returns integer
    language sql stable parallel safe
    return burst - ceil(extract(epoch from next_start - now) / extract(epoch from space))::integer;
