//! README's table of metrics is the catalogue. `UPDATE_README=1 cargo test --test readme_metrics` writes it.

use std::{fs, path::Path};

use throughline::metrics::catalogue;

const BEGIN: &str = "<!-- metrics:begin -->\n";
const END: &str = "<!-- metrics:end -->";

#[test]
fn readme_prints_the_catalogue() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let Ok(text) = fs::read_to_string(&path) else {
        eprintln!("no README.md yet");
        return;
    };
    let (before, rest) = text
        .split_once(BEGIN)
        .expect("README.md has the begin marker");
    let (table, after) = rest.split_once(END).expect("README.md has the end marker");
    let wanted = catalogue::markdown();
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{wanted}{END}{after}")).expect("README.md");
        return;
    }
    assert_eq!(
        table, wanted,
        "run UPDATE_README=1 cargo test --test readme_metrics"
    );
}
