//! Notices: what may come at every step is reported once, then counted.

use gradscope_record::record::Notice;

/// Notices that have been reported, with their counts.
#[derive(Debug, Default)]
pub(super) struct Notices(Vec<Notice>);

impl Notices {
    /// Counts the notice; whether it is to be reported.
    pub fn admit(&mut self, notice: &Notice) -> bool {
        if notice.kind.key().is_none() {
            return true;
        }
        match self.0.iter_mut().find(|known| known.is_same(notice)) {
            Some(known) => {
                known.count += 1;
                false
            }
            None => {
                self.0.push(notice.clone());
                true
            }
        }
    }

    /// What happened more than once, with the step that it happened at first.
    pub fn repeated(&self) -> impl Iterator<Item = &Notice> {
        self.0.iter().filter(|notice| notice.count > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gradscope_record::record::NoticeKind;

    #[test]
    fn one_notice_for_each_kind_and_name_and_one_for_each_gap() {
        let unreadable =
            |step, path: &str| Notice::new(step, NoticeKind::Unreadable { path: path.into(), reason: "a test".into() });
        let lost = |step| Notice::new(step, NoticeKind::StepLost { reason: "a test".into() });
        let mut notices = Notices::default();
        let given = [unreadable(3, "a"), unreadable(3, "b"), unreadable(4, "a"), lost(5), lost(6), unreadable(7, "a")];
        assert_eq!(given.each_ref().map(|notice| notices.admit(notice)), [true, true, false, true, true, false]);
        let repeated: Vec<String> = notices.repeated().map(ToString::to_string).collect();
        assert_eq!(repeated, ["step 3 and 2 later ones: a: not observed: a test"]);
    }
}
