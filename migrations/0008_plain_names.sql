-- Renames tables and columns for what they hold. Stop the processes of the previous version first: they
-- use the old names.

alter table queue.sleepers rename to idle_processes;
alter table queue.idle_processes rename constraint sleepers_pkey to idle_processes_pkey;

alter table queue.scheduled rename column spent to failures;
alter table queue.ready rename column spent to failures;
alter table queue.blocked rename column spent to failures;
alter table queue.claimed rename column spent to failures;
alter table queue.failed rename column spent to failures;

alter table queue.schedules rename to recurring_jobs;
alter table queue.recurring_jobs rename constraint schedules_pkey to recurring_jobs_pkey;
alter table queue.recurring_jobs
    rename constraint schedules_attempts_max_check to recurring_jobs_attempts_max_check;
alter table queue.recurring_jobs
    rename constraint schedules_crashes_max_check to recurring_jobs_crashes_max_check;
alter table queue.recurring_jobs
    rename constraint schedules_jitter_ms_check to recurring_jobs_jitter_ms_check;
alter table queue.recurring_jobs rename constraint schedules_missed_check to recurring_jobs_missed_check;
alter table queue.recurring_jobs
    rename constraint schedules_missed_max_check to recurring_jobs_missed_max_check;
alter table queue.recurring_jobs
    rename constraint schedules_overlap_check to recurring_jobs_overlap_check;
alter index queue.schedules_due rename to recurring_jobs_due;
alter table queue.firings rename column schedule to recurring_job;
