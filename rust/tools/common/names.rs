// SPDX-License-Identifier: GPL-2.0

//! What filesystems are known by: UUIDs and labels.

/// Parses a UUID: 32 hexadecimal digits, with or without dashes.
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits = text
        .chars()
        .filter(|&c| c != '-')
        .map(|c| c.to_digit(16).map(|d| d as u8))
        .collect::<Option<Vec<_>>>()?;
    let mut uuid = [0; 16];
    if digits.len() != 32 {
        return None;
    }
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(uuid)
}

/// The customary form of a UUID.
pub fn format_uuid(uuid: &[u8; 16]) -> String {
    let mut text = String::new();
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// A volume label for people.
pub fn format_label(label: &[u8]) -> String {
    let end = label.iter().position(|&b| b == 0).unwrap_or(label.len());
    label[..end].escape_ascii().to_string()
}
