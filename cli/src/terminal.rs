//! Lines on the terminal: what is printed stays text, whatever it is made of; colours where they are seen.

use anstyle::{AnsiColor, Style};
use gradscope::Finding;
use gradscope::record::Severity;
use std::borrow::Cow;
use std::fmt;
use std::io::{IsTerminal, Write};

/// Columns of a table that is not printed on a terminal.
const WIDE: usize = 160;
/// Columns below which no table fits.
const NARROW: usize = 40;

/// A part of a line, and how it is set off.
pub type Part = (Style, String);

pub const PLAIN: Style = Style::new();
pub const DIM: Style = Style::new().dimmed();
pub const STRONG: Style = Style::new().bold();

/// The style of a severity.
pub fn style_of(severity: Severity) -> Style {
    match severity {
        Severity::Critical => AnsiColor::Red.on_default().bold(),
        Severity::Warn => AnsiColor::Yellow.on_default().bold(),
        _ => DIM,
    }
}

/// Columns of the terminal on stdout, or more than tables need where there is none.
pub fn width() -> usize {
    let size = std::io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
    size.map_or(WIDE, |(width, _)| usize::from(width.0).max(NARROW))
}

/// The text with its control characters shown, not acted on: names come from files that anybody may have made.
pub fn plain(text: &str) -> Cow<'_, str> {
    let is_harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| if is_harmless(c) { c.to_string() } else { c.escape_unicode().to_string() };
    Cow::Owned(text.chars().map(shown).collect())
}

/// A line on stdout. A reader who has left is no error.
pub fn say(line: &dyn fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{}", plain(&line.to_string()));
}

/// A line of parts on stdout, with colours where it is a terminal that shows them.
pub fn say_parts(parts: &[Part]) {
    let line: String = parts.iter().map(|(style, text)| format!("{style}{}{style:#}", plain(text))).collect();
    let _ = writeln!(anstream::stdout(), "{line}");
}

/// A finding as an item of a list.
pub fn say_finding(finding: &Finding) {
    let text = finding.to_string();
    let (head, rest) = text.split_once(": ").unwrap_or(("", &text));
    say_parts(&[(PLAIN, "- ".into()), (style_of(finding.severity), head.into()), (PLAIN, format!(": {rest}"))]);
}

/// Prints lines on stdout; those that are findings are set off by their severity.
pub fn say_report(text: &str) {
    let heads = [("- CRITICAL", Severity::Critical), ("- warning", Severity::Warn), ("- note", Severity::Note)];
    for line in text.lines() {
        let severity = heads.into_iter().find(|(head, _)| line.starts_with(head)).map(|(_, severity)| severity);
        match (severity, line.split_once(": ")) {
            (Some(severity), Some((head, rest))) => {
                say_parts(&[(style_of(severity), head.into()), (PLAIN, format!(": {rest}"))]);
            }
            _ => say(&line),
        }
    }
}

/// A line on stderr, by the program's name.
pub fn complain(line: &dyn fmt::Display) {
    let _ = writeln!(std::io::stderr(), "gradscope: {}", plain(&line.to_string()));
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(plain("fc1.weight é\n"), "fc1.weight é\n");
        assert_eq!(plain("a\u{1b}[2Jb\r\u{9b}c"), "a\\u{1b}[2Jb\\u{d}\\u{9b}c");
    }
}
