//! The behaviour of the queue, on a real Postgres. All files are one program, because linking a
//! program per file would take minutes.

mod cancelling;
mod claiming;
mod cli;
mod cli_limits;
mod completing;
mod database_trouble;
mod embedded;
mod enqueueing;
mod inspect;
mod invariants;
mod killing;
mod late;
mod limit_conflicts;
mod limit_crowds;
mod limit_races;
mod limit_rates;
mod limit_settings;
mod limits;
mod migrating;
mod operations;
mod outcomes;
mod plans;
mod processes;
mod races;
mod recurring;
mod retention;
mod running;
mod scan;
mod schedulers;
mod schedules_declared;
mod scheduling;
mod shell;
mod test_databases;
mod unique;
mod waking;
