//! The pages of `docs/reference` say what the code says, because they are made from it. `UPDATE_REFERENCE=1` in
//! the environment rewrites them. `behaviour/metrics.rs` makes that of the metrics.

mod code;
mod commands;
mod events;
mod settings;

use queue_tests::reference::assert_page;

#[test]
fn the_reference_has_every_setting() {
    assert_page("settings.md", &settings::page());
}

#[test]
fn the_reference_has_every_command() {
    assert_page("commands.md", &commands::page());
}

#[test]
fn the_reference_has_every_event() {
    assert_page("events.md", &events::page());
}
