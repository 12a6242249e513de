-- The only row says which transaction wrote it. That is so only in the database in which it was written, and in
-- copies of its files, such as a standby. A restored dump has a copy of the row, which another transaction wrote:
-- processes run nothing there until an operator accepts the copy.
create table queue.origin (
    is_only    boolean not null default true check (is_only),
    written_by xid     not null,
    constraint origin_pkey primary key (is_only)
);

insert into queue.origin (written_by) values (pg_current_xact_id()::xid);
