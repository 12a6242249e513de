-- The version of the process that ran an attempt. Attempts before have none.
alter table queue.attempts add column version text collate "C";
