//! Broken files as their owners see them: the whole text, for every file that the front door is tried with too.

use super::*;

const PLACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/config_errors");

#[test]
fn broken_files_say_what_is_wrong_with_them() {
    let mut tried = 0;
    for entry in std::fs::read_dir(PLACE).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let environment = [("OPENAI_API_KEY".to_owned(), "sk-none".to_owned())].into();
        let surroundings = Surroundings { environment, listen: None, check_secrets: true };
        let source = Source { name: format!("{name}.toml").into(), text };
        let loaded = load(&source, &Arc::new(Runtime::new(1)), &surroundings);
        assert!(loaded.gateway.is_none(), "{name} is not broken");
        let told = diagnostic::render(&loaded.diagnostics, &source.name, &source.text, false);
        for secret in ["swordfish", "horse", "4f9a8b7c", "0123456789abc"] {
            assert!(!told.contains(secret), "{name} tells {secret}\n{told}");
        }
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(PLACE);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, told));
        tried += 1;
    }
    assert!(tried >= 12, "{tried}");
}
