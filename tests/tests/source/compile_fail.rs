//! Mistakes that the compiler finds, and what it says of them.

/// The messages are those of the toolchain named in `rust-toolchain.toml`; `TRYBUILD=overwrite`
/// writes them anew.
#[test]
fn mistakes_get_short_messages_that_name_the_fix() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/*.rs");
}
