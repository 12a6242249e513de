-- A schedule is resumed; what it missed meanwhile is decided about like any other missed time.
update queue.recurring_jobs
set paused_at = null
where name = $1
    and paused_at is not null
