//! Times as people read them.
//!
//! Here because no dependency of this program formats dates. Must not take the time.

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// A time in UTC, to the millisecond: `2026-11-21T09:08:07.123Z` (RFC 3339).
#[must_use]
pub fn utc(ms: i64) -> String {
    let (year, month, day) = civil(ms.div_euclid(DAY_MS));
    let in_day = ms.rem_euclid(DAY_MS);
    let (seconds, millis) = (in_day / 1_000, in_day % 1_000);
    let (minutes, second) = (seconds / 60, seconds % 60);
    let (hour, minute) = (minutes / 60, minutes % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// A difference with its sign: `+12 ms`, `+1.250 s`, `-3 ms`, `+2 min 5 s`. Negative where clocks disagree.
#[must_use]
pub fn millis(ms: i64) -> String {
    let sign = if ms < 0 { '-' } else { '+' };
    let size = ms.unsigned_abs();
    match size {
        0..1_000 => format!("{sign}{size} ms"),
        1_000..60_000 => format!("{sign}{}.{:03} s", size / 1_000, size % 1_000),
        60_000..3_600_000 => format!("{sign}{} min {} s", size / 60_000, size / 1_000 % 60),
        _ => format!("{sign}{} h {} min", size / 3_600_000, size / 60_000 % 60),
    }
}

/// Year, month and day of a day since 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    // Days since 0000-03-01; 64 bits of milliseconds are far from overflowing here.
    let days = days.saturating_add(719_468);
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ] {
            assert_eq!(utc(ms), expected);
        }
        for extreme in [i64::MIN, i64::MAX] {
            assert!(utc(extreme).ends_with('Z'));
            assert!(!millis(extreme).is_empty());
        }
    }

    #[test]
    fn differences_have_a_sign_and_a_unit() {
        for (ms, expected) in [
            (0, "+0 ms"),
            (-3, "-3 ms"),
            (1_250, "+1.250 s"),
            (125_000, "+2 min 5 s"),
            (3_660_000, "+1 h 1 min"),
        ] {
            assert_eq!(millis(ms), expected);
        }
    }
}
