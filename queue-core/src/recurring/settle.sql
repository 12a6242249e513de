-- Records the outcome of enqueueing for a due time, in the transaction that recorded its firing.
update queue.firings
set outcome = $3, job_id = $4, reason = $5
where recurring_job = $1
    and due_at = $2
