use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;

/// What a string is to serde: its bytes and its characters.
fn by_serde(json: &str) -> Option<(usize, usize)> {
    let text: String = serde_json::from_str(json).ok()?;
    Some((text.len(), text.chars().count()))
}

fn skimmed(json: &str) -> Option<&str> {
    Skim::whole(json, Skim::skip)
}

fn text(json: &str) -> Option<(usize, usize)> {
    Skim::whole(json, Skim::text).map(|text| (text.bytes(), text.chars()))
}

#[test]
fn takes_what_clients_and_servers_write() {
    for plain in [
        "{}",
        " [ ] ",
        "null",
        "-0.5e-3",
        r#"{"a":[1,2.5,{"b":"c\n\"d\"\u00e9\ud83d\ude00"}],"e":true,"f":false,"g":null}"#,
        "{\n\t\"a\" : 1 ,\r\n \"b\" : [ ] }",
    ] {
        assert_eq!(skimmed(plain), Some(plain.trim()), "{plain}");
    }
}

#[test]
fn refuses_what_serde_refuses() {
    for broken in [
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\"}",
        "{a:1}",
        "[1 2]",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "tru",
        "truex",
        "nul",
        "\"a",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u+123\"",
        "\"\n\"",
        "\"\u{0}\"",
        "{} {}",
        "]",
        "\"\\",
        "\"\\ud83d\"",
        "\"\\ude00\\ud83d\"",
        "\u{feff}{}",
    ] {
        assert_eq!(skimmed(broken), None, "{broken}");
    }
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    assert_eq!(skimmed(&deep), None);
}

#[test]
fn a_member_stands_once_where_it_says_so() {
    let read = |json: &'static str| {
        let mut a = None;
        Skim::whole(json, |skim| {
            skim.object(|skim, name| match name {
                "a" => {
                    a = skim.word()?;
                    Some(1)
                }
                _ => skim.skip().map(|_| 0),
            })
        })?;
        Some(a)
    };
    assert_eq!(read(r#"{"a":"x","b":1,"b":2}"#), Some(Some("x")));
    assert_eq!(read(r#"{"a":null}"#), Some(None));
    for odd in [r#"{"a":null,"a":"x"}"#, r#"{"a":1}"#, r#"{"a":"\n"}"#, r#"{"\u0061":"x"}"#] {
        assert_eq!(read(odd), None, "{odd}");
    }
}

#[test]
fn naturals_are_those_that_every_type_holds() {
    let natural = |json| Skim::whole(json, Skim::natural);
    assert_eq!(natural("0"), Some(0));
    assert_eq!(natural("1741569952"), Some(1_741_569_952));
    assert_eq!(natural("999999999999999999"), Some(999_999_999_999_999_999));
    for odd in ["", "-1", "1.0", "1e3", "007", "1000000000000000000", "x", "1x"] {
        assert_eq!(natural(odd), None, "{odd}");
    }
}

/// JSON of every form, and with spaces of every kind.
fn documents() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|truth| truth.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_filter("JSON", |float| float.is_finite()).prop_map(|float| format!("{float:e}")),
        strings(),
    ];
    let space = || prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\r\n\t")];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            (space(), prop::collection::vec((inner.clone(), space()), 0..6)).prop_map(|(space, entries)| {
                let entries: Vec<_> =
                    entries.iter().map(|(entry, after)| format!("{entry}{after}")).collect();
                format!("[{space}{}]", entries.join(","))
            }),
            (space(), prop::collection::vec((strings(), inner), 0..6)).prop_map(|(space, members)| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(name, value)| format!("{space}{name}{space}:{space}{value}"))
                    .collect();
                format!("{{{}{space}}}", members.join(","))
            }),
        ]
    })
}

/// Strings with many escapes, spelt in both ways.
fn strings() -> impl Strategy<Value = String> {
    let written = ".{0,90}".prop_map(|text: String| Value::from(text).to_string());
    let piece = prop_oneof![
        8 => Just("x"), 2 => Just("é"), 2 => Just("😀"), 1 => Just(r"\n"), 1 => Just(r#"\""#), 1 => Just(r"\u00e9"),
        1 => Just(r"\ud83d\ude00"), 1 => Just(r"\uD83D"), 1 => Just(r"\\"), 1 => Just("\u{7f}"), 1 => Just("\t"),
    ];
    let spelt = prop::collection::vec(piece, 0..200).prop_map(|pieces| format!("\"{}\"", pieces.concat()));
    prop_oneof![written, spelt]
}

proptest! {
    /// It may give up where serde does not, but what it takes, serde takes, to the byte.
    #[test]
    fn agrees_with_serde(document in documents(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut changed = document.clone().into_bytes();
        let place = at.index(changed.len());
        changed[place] = byte;
        let cut = document.char_indices().nth(at.index(document.chars().count())).map_or(0, |(at, _)| at);
        let changed = String::from_utf8(changed).unwrap_or_default();
        for json in [document.as_str(), changed.as_str(), &document[..cut]] {
            let serde = serde_json::from_str::<&RawValue>(json).ok();
            if let Some(skimmed) = skimmed(json) {
                prop_assert_eq!(Some(skimmed), serde.map(RawValue::get), "{}", json);
            }
            if let Some(natural) = Skim::whole(json, Skim::natural) {
                prop_assert_eq!(Some(natural), serde_json::from_str(json).ok(), "{}", json);
            }
        }
    }

    /// Strings are all known to it, and their lengths.
    #[test]
    fn measures_strings_as_serde_does(string in strings(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        prop_assert_eq!(text(&string), by_serde(&string));
        let mut changed = string.into_bytes();
        let place = at.index(changed.len());
        changed[place] = byte;
        if let Ok(changed) = String::from_utf8(changed) {
            let expected = if changed.starts_with(['"', ' ', '\t', '\n', '\r']) { by_serde(&changed) } else { None };
            prop_assert_eq!(text(&changed), expected);
        }
    }

    /// The bytes that end a run are found wherever they stand, and no others.
    #[test]
    fn a_run_ends_at_the_first_stop(plain in 0_usize..200, stop in any::<u8>(), filling in any::<u8>()) {
        prop_assume!(!stops_run(filling));
        let mut bytes = vec![filling; plain];
        bytes.push(stop);
        bytes.extend([b'"'; 9]);
        prop_assert_eq!(plain_run(&bytes), plain + usize::from(!stops_run(stop)));
        prop_assert_eq!(plain_run(&bytes[..plain]), plain);
    }
}
