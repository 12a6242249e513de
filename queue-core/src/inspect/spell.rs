//! Numbers and durations for people to read.

/// Returns a number with commas between thousands: `10,005`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number of seconds in its two largest units: `850ms`, `42s`, `3m 5s`, `2d 4h`.
pub fn spell_duration(seconds: f64) -> String {
    if seconds < 0.9995 {
        return format!("{:.0}ms", seconds.max(0.0) * 1000.0);
    }
    if seconds < 9.95 {
        return format!("{seconds:.1}s").replace(".0s", "s");
    }
    let seconds = seconds.round() as u64;
    let (name, unit, small_name, small_unit) = match seconds {
        86_400.. => ("d", 86_400, "h", 3_600),
        3_600.. => ("h", 3_600, "m", 60),
        60.. => ("m", 60, "s", 1),
        _ => return format!("{seconds}s"),
    };
    match seconds % unit / small_unit {
        0 => format!("{}{name}", seconds / unit),
        rest => format!("{}{name} {rest}{small_name}", seconds / unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_at_most_two_units() {
        let spelled = [
            (-1.0, "0ms"),
            (0.0004, "0ms"),
            (0.85, "850ms"),
            (1.0, "1s"),
            (1.25, "1.2s"),
            (42.4, "42s"),
            (59.7, "1m"),
            (185.0, "3m 5s"),
            (3_600.0, "1h"),
            (90_061.0, "1d 1h"),
            (2.0 * 86_400.0, "2d"),
        ];
        for (seconds, text) in spelled {
            assert_eq!(spell_duration(seconds), text);
        }
    }
}
