//! Mistakes that the compiler reports, and its messages.

/// The messages are those of the toolchain named in `rust-toolchain.toml`; `TRYBUILD=overwrite`
/// rewrites them.
#[test]
fn mistakes_get_short_messages_that_name_the_fix() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/*.rs");
}
