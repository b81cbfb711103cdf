//! A vector made from a text.

use serde_json::{Value, json};

/// Its length is one, but for rounding.
#[derive(Debug, PartialEq)]
pub struct Vector(Vec<f32>);

/// Always the same for the same text.
pub fn vector(text: &str, dimensions: usize) -> Vector {
    // The constants of FNV-1a, run on for every coordinate.
    let mut state = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, step);
    let mut values: Vec<f32> = Vec::with_capacity(dimensions);
    for index in 0..dimensions {
        state = step(state, u8::try_from(index % 251).unwrap_or_default());
        let part = i16::from_be_bytes([state.to_be_bytes()[2], state.to_be_bytes()[3]]);
        values.push(f32::from(part));
    }
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        values.iter_mut().for_each(|value| *value /= length);
    }
    Vector(values)
}

fn step(state: u64, byte: u8) -> u64 {
    (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}

impl Vector {
    pub fn json(&self) -> Value {
        json!(self.0)
    }

    /// Little-endian, as OpenAI packs them.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// In one of Cohere's number types.
    pub fn of_kind(&self, kind: &str) -> Value {
        use base64::Engine;
        use base64::engine::general_purpose::STANDARD;

        #[expect(
            clippy::cast_possible_truncation,
            reason = "a coordinate of a unit vector is at most 127 here"
        )]
        let bytes = || self.0.iter().map(|value| (value * 127.0) as i8);
        match kind {
            "float" => self.json(),
            "base64" => json!(STANDARD.encode(self.bytes())),
            "int8" | "binary" => bytes().map(i32::from).collect(),
            _ => bytes().map(|value| i32::from(value) + 128).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_of_length_one_and_belongs_to_its_text() {
        let first = vector("a", 64);
        let length: f32 = first.0.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-4, "{length}");
        assert_eq!(vector("a", 64), first);
        assert_ne!(vector("b", 64), first);
        assert_eq!(first.bytes().len(), 256);
        let bytes = first.of_kind("uint8");
        assert!(bytes.as_array().unwrap().iter().all(|value| (0..256).contains(&value.as_i64().unwrap())));
    }
}
