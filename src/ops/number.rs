//! Numbers in as few bytes as they need: seven bits in each, the lowest first.

/// Appends a number.
#[inline]
pub fn put(packed: &mut Vec<u8>, number: u128) {
    match u64::try_from(number) {
        Ok(number @ 0..0x80) => packed.push((number & 0x7f) as u8),
        Ok(number) => put_long(packed, number),
        Err(_) => put_wide(packed, number),
    }
}

fn put_long(packed: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        packed.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    packed.push((number & 0x7f) as u8);
}

fn put_wide(packed: &mut Vec<u8>, mut number: u128) {
    while number > 0x7f {
        packed.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    packed.push((number & 0x7f) as u8);
}

/// Takes a number off the head; nothing if there is none, or one that is too large.
#[inline]
pub fn take(packed: &mut &[u8]) -> Option<u64> {
    match packed.split_first() {
        Some((byte, rest)) if *byte < 0x80 => {
            *packed = rest;
            Some(u64::from(*byte))
        }
        _ => take_long(packed),
    }
}

fn take_long(packed: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0_u64, 0);
    loop {
        let (byte, rest) = packed.split_first()?;
        *packed = rest;
        let bits = u64::from(byte & 0x7f);
        if shift >= u64::BITS || bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if *byte < 0x80 {
            return Some(number);
        }
        shift += 7;
    }
}

/// The same for money, which may be more than fits into 64 bits but hardly ever is.
pub fn take_wide(packed: &mut &[u8]) -> Option<u128> {
    let before = *packed;
    if let Some(number) = take(packed) {
        return Some(number.into());
    }
    *packed = before;
    let (mut number, mut shift) = (0_u128, 0);
    loop {
        let (byte, rest) = packed.split_first()?;
        *packed = rest;
        let bits = u128::from(byte & 0x7f);
        if shift >= u128::BITS || bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if *byte < 0x80 {
            return Some(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_out_as_they_went_in() {
        let numbers = [0, 127, 128, 300, u128::from(u64::MAX), u128::from(u64::MAX) + 1, u128::MAX];
        let mut packed = Vec::new();
        numbers.iter().for_each(|number| put(&mut packed, *number));
        let mut rest = &packed[..];
        numbers.iter().for_each(|number| assert_eq!(take_wide(&mut rest), Some(*number)));
        assert!(rest.is_empty());
        for number in numbers {
            let mut packed = Vec::new();
            put(&mut packed, number);
            assert_eq!(take(&mut &packed[..]), u64::try_from(number).ok());
            assert_eq!(take_wide(&mut &packed[..packed.len() - 1]), None);
        }
    }
}
