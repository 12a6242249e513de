//! The core of the tests in `.config/nextest.toml` names modules and tests that exist. A wrong name
//! would leave them out silently.

use std::fs;
use std::path::Path;

const PROFILES: &str = include_str!("../../../.config/nextest.toml");

#[test]
fn the_core_names_existing_modules_and_tests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/behaviour");
    let text = |module: &str| fs::read_to_string(folder.join(module).with_extension("rs"));
    let (_, modules) = PROFILES.split_once("test(/^(").expect("a list of modules");
    let (modules, _) = modules.split_once(")::/)").expect("the end of the list");
    for module in modules.split('|') {
        assert!(text(module).is_ok(), "there is no module {module}");
    }

    for test in PROFILES.split("test(=").skip(1) {
        let (test, _) = test.split_once(')').expect("the end of a name");
        let (module, name) = test.split_once("::").expect("a module and a name");
        let declared = text(module).is_ok_and(|text| text.contains(&format!("fn {name}(")));
        assert!(declared, "there is no test {test}");
    }
}
