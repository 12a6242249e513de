-- Records what somebody did, or was refused.
insert into queue.audit (who, role, what, target, why, jobs, refused)
values ($1, $2, $3, $4, $5, $6, $7)
