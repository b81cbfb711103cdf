//! `docs/translation.md`: what becomes of every feature at every provider, found by trying it.
//!
//! ```text
//! columns      which provider and model each column stands for
//! requests     the features of a request, as data        -> probe, difference: with the feature and without it
//! answers      the features of an answer, as data        -> reading: recordings that have them
//! carriers     opaque reasoning, out and back
//! ```
//!
//! `PITON_BLESS=1 cargo test --lib matrix` writes the tables anew.

use std::fmt::Write;
use std::fs;

use self::answers::{FOLDERS, features};
use self::carriers::carriers;
use self::columns::{COLUMNS, Column, VARIANTS};
use self::probe::Fate;
use self::reading::WRONG;
use self::requests::groups;

mod answers;
mod carriers;
mod columns;
mod difference;
mod probe;
mod reading;
mod requests;

/// The document: what stands between the marks of a table is written here, the rest by hand.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/translation.md");

fn row(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |\n", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

fn head(titles: &[&str]) -> String {
    row(titles.iter().map(|title| (*title).to_owned())) + &row(titles.iter().map(|_| "---".to_owned()))
}

fn titles(first: &'static str) -> Vec<&'static str> {
    std::iter::once(first).chain(COLUMNS.iter().map(|column| column.title)).collect()
}

/// Which models the columns stand for.
fn column_table() -> String {
    let name = |column: &Column| format!("`{}/{}`", column.provider, column.model);
    let columns = COLUMNS.iter().map(|column| row([column.title.to_owned(), name(column), String::new()]));
    let variants = VARIANTS
        .iter()
        .map(|(column, base)| row([column.title.to_owned(), name(column), format!("differs from {base}")]));
    head(&["column", "model", ""]) + &columns.chain(variants).collect::<String>()
}

/// What becomes of each feature of a request.
fn request_tables() -> String {
    let mut text = String::new();
    for (group, probes) in groups() {
        let _ = write!(text, "### {group}\n\n{}", head(&titles("")));
        for probe in probes {
            let cells = COLUMNS.iter().map(|column| probe.fate(column).cell());
            text += &row(std::iter::once(probe.name.to_owned()).chain(cells));
        }
        text.push('\n');
    }
    text.trim_end().to_owned() + "\n"
}

/// Where another model or host of a dialect differs.
fn variant_tables() -> String {
    let mut text = String::new();
    for (variant, base) in &VARIANTS {
        let base = COLUMNS.iter().find(|column| column.title == *base).unwrap();
        let _ = write!(text, "### {}\n\n{}", variant.title, head(&["", variant.title, base.title]));
        for probe in groups().into_iter().flat_map(|(_, probes)| probes) {
            let cells = [variant, base].map(|column| probe.fate(column).cell());
            if cells[0] != cells[1] {
                text += &row(std::iter::once(probe.name.to_owned()).chain(cells));
            }
        }
        text.push('\n');
    }
    text.trim_end().to_owned() + "\n"
}

/// What becomes of each feature of an answer.
fn answer_table() -> String {
    let titles: Vec<&str> = std::iter::once("").chain(FOLDERS.iter().map(|(title, _)| *title)).collect();
    let mut text = head(&titles);
    for feature in features() {
        let cells = FOLDERS.iter().map(|(_, folder)| feature.cell(folder));
        text += &row(std::iter::once(feature.name.to_owned()).chain(cells));
    }
    text
}

/// Where opaque reasoning goes in the next request.
fn carrier_table() -> String {
    let mut titles = titles("an answer's");
    titles.insert(1, "travels as");
    let mut text = head(&titles);
    for carrier in carriers() {
        let cells = [carrier.title.to_owned(), carrier.formats.join(", ")];
        text += &row(cells.into_iter().chain(carrier.fates.iter().map(Fate::cell)));
    }
    text
}

/// The document with this table in its place.
fn with_table(document: &str, name: &str, table: &str) -> String {
    let (open, close) = (format!("<!-- table: {name} -->\n"), format!("<!-- end: {name} -->\n"));
    let (before, rest) = document.split_once(&open).unwrap_or_else(|| panic!("no place for {name}"));
    let (_, after) = rest.split_once(&close).unwrap_or_else(|| panic!("{name} has no end"));
    format!("{before}{open}\n{table}\n{close}{after}")
}

#[test]
fn the_matrix_of_the_document_is_fresh() {
    let written = fs::read_to_string(DOCUMENT).unwrap();
    let tables = [
        ("columns", column_table()),
        ("requests", request_tables()),
        ("variants", variant_tables()),
        ("answers", answer_table()),
        ("carriers", carrier_table()),
    ];
    let fresh = tables.iter().fold(written.clone(), |text, (name, table)| with_table(&text, name, table));
    if std::env::var_os("PITON_BLESS").is_some() {
        fs::write(DOCUMENT, fresh).unwrap();
    } else {
        let stale: Vec<&str> = fresh.lines().filter(|line| !written.contains(line)).collect();
        assert!(fresh == written, "PITON_BLESS=1 writes the tables anew. New there:\n{}", stale.join("\n"));
    }
}

/// Nothing is lost without a word, and everything that is sent is taken.
#[test]
fn nothing_of_the_matrix_is_lost() {
    let mut lost = Vec::new();
    for probe in groups().into_iter().flat_map(|(_, probes)| probes) {
        for column in COLUMNS.iter().chain(VARIANTS.iter().map(|(column, _)| column)) {
            if let Fate::Lost(why) = probe.fate(column) {
                lost.push(format!("{} at {}: {why}", probe.name, column.title));
            }
        }
    }
    for carrier in carriers() {
        for (fate, column) in carrier.fates.iter().zip(&COLUMNS) {
            let is_home = carrier.home == column.title;
            if matches!(fate, Fate::Lost(_)) || is_home && !matches!(fate, Fate::Kept(_)) {
                lost.push(format!("{} at {}: {fate:?}", carrier.title, column.title));
            }
        }
    }
    for feature in features() {
        let cells = FOLDERS.iter().map(|(_, folder)| feature.cell(folder));
        lost.extend(
            cells.filter(|cell| cell.contains(WRONG)).map(|cell| format!("{}: {cell}", feature.name)),
        );
    }
    assert!(lost.is_empty(), "{} are lost:\n{}", lost.len(), lost.join("\n"));
}
