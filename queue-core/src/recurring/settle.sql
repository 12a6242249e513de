-- Says what became of a due time that was to be enqueued, in the transaction that recorded it.
update queue.firings
set outcome = $3, job_id = $4, reason = $5
where recurring_job = $1
    and due_at = $2
