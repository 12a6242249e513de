//! The pages of `docs/reference`, which tests make from the code.

use std::path::Path;
use std::{env, fs};

/// Asserts that the page of this name has this text. `UPDATE_REFERENCE=1` in the environment writes it first.
///
/// # Panics
/// When the page has another text.
pub fn assert_page(name: &str, text: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
    let page = folder.join(name);
    if env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&page, text).expect("the page should be writable");
    }
    assert!(
        fs::read_to_string(&page).is_ok_and(|page| page == text),
        "docs/reference/{name} is not what the code says; \
         write it anew with: UPDATE_REFERENCE=1 bin/test reference"
    );
}
