//! UTC in the two forms a run folder uses. Nothing else here would use a date library.

use std::time::{SystemTime, UNIX_EPOCH};

/// The present, as [`rfc3339`] writes it.
pub(super) fn now() -> String {
    rfc3339(SystemTime::now())
}

/// `20261121T213000Z`, for names of folders.
pub(super) fn stamp(time: SystemTime) -> String {
    rfc3339(time).replace(['-', ':'], "")
}

/// `2026-11-21T21:30:00Z`.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let secs = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = civil_from_days(secs / 86_400);
    let (hour, minute, second) = (secs / 3600 % 24, secs / 60 % 60, secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Seconds since 1970, now.
pub(super) fn now_secs() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Seconds since 1970 of a time as [`rfc3339`] writes it; `None` where it is none.
pub(super) fn unix_secs(text: &str) -> Option<f64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let [year, month, day] = [number(0..4)?, number(5..7)?, number(8..10)?];
    let [hour, minute, second] = [number(11..13)?, number(14..16)?, number(17..19)?];
    let is_date = year >= 1970 && (1..=12).contains(&month) && (1..=31).contains(&day);
    let secs = is_date.then(|| days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)?;
    Some(secs as f64)
}

/// Year, month and day to days since 1970-01-01: the inverse of [`civil_from_days`].
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Days since 1970-01-01 to year, month and day (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn known_instants() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(secs)), text);
            assert_eq!(unix_secs(text), Some(secs as f64));
        }
        for damaged in ["", "2026", "2026-13-01T00:00:00Z", "1969-01-01T00:00:00Z", "2026-11-2\u{e9}T00:00:00Z"] {
            assert_eq!(unix_secs(damaged), None, "{damaged}");
        }
        assert_eq!(stamp(UNIX_EPOCH), "19700101T000000Z");
    }
}
