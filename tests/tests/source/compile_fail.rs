//! Mistakes that the compiler reports, and its messages.

/// The messages depend on the version of Rust. `TRYBUILD=overwrite` in the environment
/// rewrites them.
#[test]
fn mistakes_get_short_messages_that_name_the_fix() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/*.rs");
}
