//! JSON as text that both stores give back as it was: what is hashed and what is stored.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// From here on the usual notation of a float has an exponent and no fraction.
const EXPONENT_FROM: f64 = 1e16;

/// From here on a number without a fraction is too large for an integer, and is read as a float again.
const INTEGERS_END: f64 = 2e19;

/// The text of a value.
///
/// PostgreSQL's `jsonb` keeps numbers as decimals: it writes `1e16` as an integer, which would be read as one, and knows no
/// negative zero. So such floats are written with a fraction, and zero without a sign.
pub(crate) fn canonical_text(value: &(impl Serialize + ?Sized)) -> String {
    let mut text = Vec::new();
    let written = value.serialize(&mut Serializer::with_formatter(&mut text, Canonical));
    debug_assert!(written.is_ok(), "values of the engine have string keys, and a vector takes all bytes");
    String::from_utf8(text).unwrap_or_default()
}

struct Canonical;

impl Formatter for Canonical {
    fn write_f64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        if value == 0.0 {
            writer.write_all(b"0.0")
        } else if (EXPONENT_FROM..INTEGERS_END).contains(&value.abs()) {
            write!(writer, "{value:.1}")
        } else {
            CompactFormatter.write_f64(writer, value)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn objects_are_sorted_by_key_whatever_their_order_was() {
        let value: Value = serde_json::from_str(r#"{"b":1,"a":{"d":null,"c":[]}}"#).unwrap();
        assert_eq!(canonical_text(&value), r#"{"a":{"c":[],"d":null},"b":1}"#);
    }

    #[test]
    fn a_number_is_read_back_as_it_was() {
        for number in
            [0.1, 1e300, 1e-7, 1e15, 1e16, -1e16, 12_345_678_901_234_567_890.0, 1.8e19, 2e19, 5e-324, f64::MAX]
        {
            let back: Value = serde_json::from_str(&canonical_text(&number)).unwrap();
            assert_eq!(back, json!(number));
        }
        assert_eq!(canonical_text(&-0.0), "0.0");
        assert_eq!(canonical_text(&[i64::MIN, i64::MAX]), format!("[{},{}]", i64::MIN, i64::MAX));
    }
}
