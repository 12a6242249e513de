-- Takes the turn to find and to send alerts for $1 ms, and returns until when, unless the last one is not over.
insert into queue.alert_turn as turn (until)
values (statement_timestamp() + $1 * interval '1 millisecond')
on conflict (is_only) do update
set until = excluded.until
where turn.until <= statement_timestamp()
returning until
