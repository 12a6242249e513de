-- The states of a job as bits, as in unique_keys.held_in and jobs.unique_states. The planner puts the
-- numbers in their place.

create function queue.state_claimed() returns smallint
    language sql immutable parallel safe
    return 4::smallint;

create function queue.state_failed() returns smallint
    language sql immutable parallel safe
    return 16::smallint;

create function queue.state_finished() returns smallint
    language sql immutable parallel safe
    return 32::smallint;
