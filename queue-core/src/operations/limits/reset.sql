-- A limit goes back to what the jobs say.
delete from queue.limits
where name = $1
