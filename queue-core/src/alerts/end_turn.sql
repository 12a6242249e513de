-- Ends the turn that was taken until $1: the next one may be taken $2 ms from now.
update queue.alert_turn
set until = statement_timestamp() + $2 * interval '1 millisecond'
where until = $1
