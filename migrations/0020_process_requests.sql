-- What somebody asked a process to do, by whom and when: it reads that with its heartbeat.

alter table queue.processes
    add column asked text constraint processes_asked_check check (asked in ('quiet', 'stop')),
    add column asked_by text,
    add column asked_at timestamptz;
