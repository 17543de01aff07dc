//! Moments of an approval step.

use serde_saphyr::Spanned;

use super::{Checker, Named, Place, assign::Standing, duration};
use crate::definition::{
    DecisionRule, Escalation, Expiry, ExpiryOutcome, Lapse, Moment, Reminder,
    source::{self, WordOr},
};

/// How many rules of reminding, and of escalating, a step may have: more levels than an organisation has.
pub const MOMENTS_MAX: usize = 20;

/// How often one rule may remind: every day of a quarter. Who does not mind a hundred reminders does not mind more.
pub const REMINDERS_MAX: u32 = 100;

/// How long after something, as it is written.
type Length = Spanned<WordOr<source::Business>>;

/// How many business days a moment may be away: a year's.
pub const BUSINESS_DAYS_MAX: u32 = 366;

/// The moments of a step as they are written: at most one of the three.
#[derive(Clone, Copy)]
struct When<'s> {
    after: Option<&'s Length>,
    before_due: Option<&'s Length>,
    after_due: Option<&'s Length>,
    /// Whether it is for `expire`, which does not come before a step is due.
    expires: bool,
}

/// Whether this is a duration of nothing.
fn is_none(length: &Length) -> bool {
    matches!(&length.value, WordOr::Word(text) if duration::is_none(text))
}

/// What all moments of a step come to.
pub(super) struct Moments {
    pub(super) calendar: Option<String>,
    pub(super) due: Option<Lapse>,
    pub(super) remind: Vec<Reminder>,
    pub(super) escalate: Vec<Escalation>,
    pub(super) expire: Option<Expiry>,
}

impl Checker<'_> {
    pub(super) fn moments(&mut self, source: &source::Approval, path: &str, decision: DecisionRule) -> Option<Moments> {
        let calendar = self.step_calendar(source, path);
        self.has_calendar = calendar.is_some();
        let due = source.due.as_ref().map(|due| self.lapse(due, &format!("{path}.due")));
        let is_due = source.due.is_some();
        let remind = self.remind(source, &format!("{path}.remind"), is_due);
        let escalate = self.escalate(source, &format!("{path}.escalate"), decision, is_due);
        let expire = self.expire(source, path, is_due);
        Some(Moments {
            calendar,
            due: match due {
                Some(due) => Some(due?),
                None => None,
            },
            remind: remind?,
            escalate: escalate?,
            expire,
        })
    }

    fn remind(&mut self, source: &source::Approval, path: &str, is_due: bool) -> Option<Vec<Reminder>> {
        let Some(rules) = &source.remind else { return Some(Vec::new()) };
        let rules = self.list(rules, path, "moment to remind at", MOMENTS_MAX);
        let checked: Vec<_> = (rules.iter().enumerate())
            .map(|(index, rule)| self.reminder(rule, &format!("{path}[{index}]"), is_due))
            .collect();
        checked.into_iter().collect()
    }

    fn reminder(&mut self, rule: &Spanned<source::Remind>, path: &str, is_due: bool) -> Option<Reminder> {
        let source::Remind { after, before_due, after_due, every, times } = &rule.value;
        let when = When {
            after: after.as_ref(),
            before_due: before_due.as_ref(),
            after_due: after_due.as_ref(),
            expires: false,
        };
        let at = self.step_moment(rule, when, path, is_due);
        let every = every.as_ref().map(|every| (every, self.lapse(every, &format!("{path}.every"))));
        match (&every, times) {
            (Some((every, _)), None) => {
                let message = "say how often: `times`, the first one included";
                self.error(*every, &format!("{path}.every"), message);
            }
            (None, Some(times)) => {
                self.error(times, &format!("{path}.times"), "say after how long each: `every`");
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        let times = self.number(times.as_ref(), &format!("{path}.times"), (1, REMINDERS_MAX), 1);
        let every = match every {
            Some((_, every)) => Some(every?),
            None => None,
        };
        Some(Reminder { at: at?, every, times })
    }

    fn escalate(
        &mut self,
        source: &source::Approval,
        path: &str,
        decision: DecisionRule,
        is_due: bool,
    ) -> Option<Vec<Escalation>> {
        let Some(rules) = &source.escalate else { return Some(Vec::new()) };
        let rules = self.list(rules, path, "moment to escalate at", MOMENTS_MAX);
        let checked: Vec<_> = (rules.iter().enumerate())
            .map(|(index, rule)| {
                let path = format!("{path}[{index}]");
                let source::Escalate { after, before_due, after_due, to, how } = &rule.value;
                let when = When {
                    after: after.as_ref(),
                    before_due: before_due.as_ref(),
                    after_due: after_due.as_ref(),
                    expires: false,
                };
                let at = self.step_moment(rule, when, &path, is_due);
                let to = self.assign(to, &format!("{path}.to"), decision, Standing::Escalation);
                let words = [("add", false), ("replace", true)];
                let replace = how.as_ref().map_or(Some(false), |how| self.word(how, &format!("{path}.how"), &words));
                Some(Escalation { at: at?, to: to?, replace: replace? })
            })
            .collect();
        checked.into_iter().collect()
    }

    fn expire(&mut self, source: &source::Approval, path: &str, is_due: bool) -> Option<Expiry> {
        let silence = source.approve_by_silence.as_ref();
        let silence_path = format!("{path}.approve_by_silence");
        let Some(rule) = &source.expire else {
            if let Some(silence) = silence {
                let message = "this goes with `expire: { …, outcome: approve }`; without it, silence approves nothing";
                self.error(silence, &silence_path, message);
            }
            return None;
        };
        let path = format!("{path}.expire");
        let source::Expire { after, after_due, outcome } = &rule.value;
        let when = When { after: after.as_ref(), before_due: None, after_due: after_due.as_ref(), expires: true };
        let at = self.step_moment(rule, when, &path, is_due);
        let words =
            [("reject", ExpiryOutcome::Reject), ("error", ExpiryOutcome::Error), ("approve", ExpiryOutcome::Approve)];
        let approves = outcome.value == "approve";
        let allowed = silence.is_some_and(|silence| silence.value);
        if approves && !allowed {
            let message = "this would approve what nobody has looked at; where that is meant, say it again: \
                           `approve_by_silence: true` beside `expire`";
            self.error(outcome, &format!("{path}.outcome"), message);
        }
        if let (false, Some(silence)) = (approves, silence) {
            self.error(silence, &silence_path, "this step does not expire with `outcome: approve`; leave this out");
        }
        let outcome = self.word(outcome, &format!("{path}.outcome"), &words);
        Some(Expiry { at: at?, outcome: outcome? })
    }

    fn step_moment<T>(&mut self, rule: &Spanned<T>, when: When<'_>, path: &str, is_due: bool) -> Option<Moment> {
        match (when.after, when.before_due, when.after_due) {
            (Some(after), None, None) => self.lapse(after, &format!("{path}.after")).map(Moment::After),
            (None, Some(before), None) => {
                let path = format!("{path}.before_due");
                self.check_due(before, &path, is_due);
                self.lapse(before, &path).map(Moment::BeforeDue)
            }
            (None, None, Some(after)) => {
                let path = format!("{path}.after_due");
                self.check_due(after, &path, is_due);
                if is_none(after) {
                    Some(Moment::AfterDue(None))
                } else {
                    self.lapse(after, &path).map(|lapse| Moment::AfterDue(Some(lapse)))
                }
            }
            _ => {
                let message = if when.expires {
                    "say one of `after` (the start) and `after_due`"
                } else {
                    "say one of `after` (the start), `before_due` and `after_due`"
                };
                self.error(rule, path, message);
                None
            }
        }
    }

    fn check_due(&mut self, at: &Length, path: &str, is_due: bool) {
        if !is_due {
            self.error(at, path, "the step has no `due`");
        }
    }

    fn lapse(&mut self, length: &Length, path: &str) -> Option<Lapse> {
        let lapse = match &length.value {
            WordOr::Word(text) => duration::parse(text).map(Lapse::Time).map_err(|message| (length.into(), message)),
            WordOr::Object(business) => {
                if !self.has_calendar {
                    self.error(
                        length,
                        path,
                        "business time is counted in a calendar; name it: `calendar`, beside `assign`",
                    );
                }
                match (&business.business, &business.business_days) {
                    (Some(text), None) => duration::parse_hours(&text.value)
                        .map(Lapse::Business)
                        .map_err(|message| (text.into(), message)),
                    (None, Some(days)) => {
                        let path = format!("{path}.business_days");
                        return Some(Lapse::BusinessDays(self.number(Some(days), &path, (1, BUSINESS_DAYS_MAX), 1)));
                    }
                    _ => Err((length.into(), "say one of `business` and `business_days`".to_owned())),
                }
            }
        };
        match lapse {
            Ok(lapse) => Some(lapse),
            Err((at, message)) => {
                let at: Place = at;
                self.error(at, path, message);
                None
            }
        }
    }

    /// The calendar of a step, if its business time has one.
    fn step_calendar(&mut self, source: &source::Approval, path: &str) -> Option<String> {
        let name = source.calendar.as_ref()?;
        self.principal(name, &format!("{path}.calendar"), Named::Calendar);
        Some(name.value.clone())
    }
}
