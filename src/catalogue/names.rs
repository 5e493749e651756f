//! Patients' names as a search compares them.
//!
//! A name has up to three groups (alphabetic, ideographic, phonetic), and each has components: family name, given name and so on (PS3.5 §6.2). A
//! search may begin with any component, so each group stands in `study_name` from each of its components on: `Doe^Jane` as `doe^jane` and `jane`.

use std::collections::BTreeSet;

use icu_normalizer::ComposingNormalizerBorrowed;
use rusqlite::{Connection, Result};

/// Parts of a name: five components in each of three groups. A sender may send more, and no one searches for them.
const MAX_PARTS: usize = 15;

/// Bytes of a part, and of what is searched for. A group has 64 characters by the standard.
const MAX_BYTES: usize = 256;

/// The hiragana of the half-width katakana U+FF66 to U+FF9D, in their order.
const OF_HALF_WIDTH: &str =
    "をぁぃぅぇぉゃゅょっーあいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわん";

/// Kana that a voiced sound mark follows; the voiced kana is the next character.
const VOICED: &str = "かきくけこさしすせそたちつてとはひふへほ";

/// Kana that a semi-voiced sound mark follows; the semi-voiced kana is the next but one.
const SEMI_VOICED: &str = "はひふへほ";

/// `text` without differences of case and of width, and katakana as hiragana: what people who search do not distinguish. At most [`MAX_BYTES`].
pub(crate) fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for character in text.trim().chars() {
        let character = kana(narrow(character));
        match (mark(character), folded.chars().next_back()) {
            (Some((kana, distance)), Some(last)) if kana.contains(last) => {
                folded.pop();
                folded.extend(char::from_u32(u32::from(last) + distance));
            }
            // By way of the upper case, which joins more: that of `ς` is the one of `σ`, and that of `ß` is `SS`.
            _ => folded.extend(character.to_uppercase().flat_map(char::to_lowercase)),
        }
        if folded.len() > MAX_BYTES {
            break;
        }
    }
    while folded.len() > MAX_BYTES {
        folded.pop();
    }
    folded
}

/// What is searched for in `study_name`. Of a whole name with several groups the first one tells enough.
pub(crate) fn beginning(text: &str) -> String {
    folded(&separated(text.split('=').find(|group| !group.trim().is_empty()).unwrap_or_default()))
}

/// A group with its components as the standard separates them, and each letter one character: people write `Doe, Jane`, some devices too, and
/// some keyboards and filesystems write `u` and a diaeresis for `ü`.
fn separated(group: &str) -> String {
    let composed = ComposingNormalizerBorrowed::new_nfc().normalize(group);
    composed.split(['^', ',', '\u{FF0C}', '\u{3001}']).map(str::trim).collect::<Vec<_>>().join("^")
}

/// Full-width letters, digits and signs as those of ASCII.
fn narrow(character: char) -> char {
    match character {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(character) - 0xFEE0).unwrap_or(character),
        '\u{3000}' => ' ',
        other => other,
    }
}

/// Katakana of both widths as hiragana.
fn kana(character: char) -> char {
    match character {
        '\u{30A1}'..='\u{30F6}' => char::from_u32(u32::from(character) - 0x60).unwrap_or(character),
        '\u{FF66}'..='\u{FF9D}' => {
            OF_HALF_WIDTH.chars().nth((u32::from(character) - 0xFF66) as usize).unwrap_or(character)
        }
        other => other,
    }
}

/// The kana that a sound mark may follow, and the distance to the character of both.
fn mark(character: char) -> Option<(&'static str, u32)> {
    match character {
        '\u{FF9E}' | '\u{3099}' | '\u{309B}' => Some((VOICED, 1)),
        '\u{FF9F}' | '\u{309A}' | '\u{309C}' => Some((SEMI_VOICED, 2)),
        _ => None,
    }
}

/// The parts of a name.
fn parts(name: &str) -> impl Iterator<Item = String> {
    let of_group = |group| {
        let group = separated(group);
        let ends = group.trim_end_matches('^');
        let from_each = std::iter::successors(Some(ends), |rest| rest.split_once('^').map(|(_, rest)| rest));
        let is_part = |part: &&str| !part.is_empty() && !part.starts_with('^');
        from_each.filter(is_part).take(MAX_PARTS).map(folded).collect::<Vec<_>>()
    };
    name.split('=').flat_map(of_group).take(MAX_PARTS)
}

/// Makes the parts of a study's name be those of `to`, and no longer those of `from`.
pub(crate) fn replace(db: &Connection, study: i64, from: Option<&str>, to: Option<&str>) -> Result<()> {
    if from == to {
        return Ok(());
    }
    let [old, new] = [from, to].map(|name| name.into_iter().flat_map(parts).collect::<BTreeSet<_>>());
    for part in old.difference(&new) {
        db.prepare_cached("DELETE FROM study_name WHERE part = ?1 AND study = ?2")?.execute((part, study))?;
    }
    for part in new.difference(&old) {
        db.prepare_cached("INSERT OR IGNORE INTO study_name (part, study) VALUES (?1, ?2)")?.execute((part, study))?;
    }
    Ok(())
}

/// Enters the parts of all names, and no others.
pub(crate) fn enter_all(db: &Connection) -> Result<()> {
    db.execute("DELETE FROM study_name", [])?;
    let mut named = db.prepare("SELECT id, patient_name FROM study WHERE patient_name IS NOT NULL")?;
    let mut rows = named.query([])?;
    while let Some(row) = rows.next()? {
        replace(db, row.get(0)?, None, Some(row.get_ref(1)?.as_str()?))?;
    }
    Ok(())
}

/// Whether a search for `beginning` finds a study of that name.
pub(crate) fn begins(name: &str, beginning: &str) -> bool {
    !beginning.is_empty() && parts(name).any(|part| part.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_width_and_script_of_kana_make_no_difference() {
        for (a, b) in [
            ("MÜLLER", "müller"),
            ("Straße", "STRASSE"),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
            ("ИВАНОВ", "иванов"),
            ("ヤマダ", "やまだ"),
            ("ﾔﾏﾀﾞ", "ヤマダ"),
            ("ﾊﾟｰﾙ", "ぱーる"),
            ("ば", "は\u{3099}"),
            ("Ｙａｍａｄａ", "yamada"),
            (" Doe ", "dOE"),
        ] {
            assert_eq!(folded(a), folded(b), "{a} {b}");
        }
        assert_ne!(folded("Muller"), folded("Müller"));
    }

    #[test]
    fn a_name_stands_from_each_component_on() {
        let of = |name| parts(name).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
        assert_eq!(of("Doe^Jane^^Dr"), ["doe^jane^^dr", "dr", "jane^^dr"]);
        assert_eq!(of("Yamada^Tarou=山田^太郎=やまだ^たろう").len(), 6);
        assert_eq!(of("^^^"), [""; 0]);
        assert_eq!(of("=山田"), ["山田"]);
        assert!(begins("Yamada^Tarou=山田^太郎=やまだ^たろう", &beginning("ﾔﾏ")));
        assert!(begins("Yamada^Tarou=山田^太郎", &beginning("Yamada^Tarou=山田^太郎")));
        assert!(begins("Doe^Jane", &beginning("JA")) && !begins("Doe^Jane", &beginning("ane")));
    }

    #[test]
    fn a_comma_separates_components_and_a_composed_letter_is_one() {
        for name in ["Müller^Jürgen", "Müller, Jürgen", "Mu\u{308}ller ^ Ju\u{308}rgen^^"] {
            for text in
                ["Müller, Jürgen", "mu\u{308}ller,ju\u{308}", "MÜLLER^J", "Ju\u{308}rgen", "jürgen", "Müller，Jürgen"]
            {
                assert!(begins(name, &beginning(text)), "{name} {text}");
            }
            for text in ["Muller", "Müller, Max", "Müllerj", ",", "^"] {
                assert!(!begins(name, &beginning(text)), "{name} {text}");
            }
        }
    }

    #[test]
    fn hostile_names_have_few_and_short_parts() {
        let parts: Vec<_> = parts(&format!("{}{}", "a^".repeat(1000), "ä".repeat(2000))).collect();
        assert!(parts.len() <= MAX_PARTS && parts.iter().all(|part| part.len() <= MAX_BYTES));
        let long = "ß".repeat(1000);
        assert!(begins(&long, &beginning(&long)), "what is searched for is cut as the name is");
    }
}
