//! Internet checksums (RFC 1071).
//!
//! The ones' complement sum does not care about byte order as long as it is one order throughout,
//! nor how wide the words are that are added, as long as what is carried out of 16 bits is added
//! again. So sums are taken of the machine's own 32-bit words in 64 bits, which can't overflow, and
//! which the compiler makes vectors of.

/// The sum of some bytes as the machine's own words; behind an odd number one zero is thought.
pub fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let total: u64 = words
        .iter()
        .map(|word| u64::from(u32::from_ne_bytes(*word)))
        .sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    total + u64::from(u32::from_ne_bytes(last))
}

/// A 16-bit number of a header as the machine's own word of its two big-endian bytes.
pub fn word(number: u16) -> u64 {
    u64::from(number.to_be())
}

/// Fold a sum and complement it: the two bytes of the checksum field. Never all ones.
pub fn finish(total: u64) -> [u8; 2] {
    let rest = u16::try_from(total % 65_535).unwrap_or(0);
    let value = if rest == 0 { 0 } else { 65_535 - rest };
    value.to_ne_bytes()
}

/// The same for UDP, where 0 would say "no checksum": all ones is equal to it.
pub fn finish_nonzero(total: u64) -> [u8; 2] {
    match finish(total) {
        [0, 0] => [0xFF, 0xFF],
        bytes => bytes,
    }
}

/// Whether a sum over a packet with its checksum in it comes out as all ones.
pub fn right(total: u64) -> bool {
    total.is_multiple_of(65_535)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7];
        assert_eq!(finish(sum(&bytes)), [0x22, 0x0D]);
    }

    #[test]
    fn an_odd_byte_counts_as_if_a_zero_followed() {
        assert_eq!(finish(sum(&[1, 2, 3])), finish(sum(&[1, 2, 3, 0])));
    }

    #[test]
    fn zero_is_never_a_udp_checksum() {
        assert_eq!(finish_nonzero(sum(&[0xFF; 6])), [0xFF, 0xFF]);
    }
}
