//! Moments of an approval step.

use serde_saphyr::Spanned;

use super::{Checker, Text, assign::Standing, duration};
use crate::definition::{DecisionRule, Escalation, Expiry, ExpiryOutcome, Lapse, Moment, Reminder, source};

/// How many rules of reminding, and of escalating, a step may have: more levels than an organisation has.
pub const MOMENTS_MAX: usize = 20;

/// How often one rule may remind: every day of a quarter. Who does not mind a hundred reminders does not mind more.
pub const REMINDERS_MAX: u32 = 100;

/// The moments of a step as they are written: at most one of the three.
struct When<'s> {
    after: Option<&'s Text>,
    before_due: Option<&'s Text>,
    after_due: Option<&'s Text>,
    /// Whether it is for `expire`, which does not come before a step is due.
    expires: bool,
}

/// What all moments of a step come to.
pub(super) struct Moments {
    pub(super) due: Option<Lapse>,
    pub(super) remind: Vec<Reminder>,
    pub(super) escalate: Vec<Escalation>,
    pub(super) expire: Option<Expiry>,
}

impl Checker<'_> {
    pub(super) fn moments(&mut self, source: &source::Approval, path: &str, decision: DecisionRule) -> Option<Moments> {
        let due = source.due.as_ref().map(|due| self.lapse(due, &format!("{path}.due")));
        let is_due = source.due.is_some();
        let remind = self.remind(source, &format!("{path}.remind"), is_due);
        let escalate = self.escalate(source, &format!("{path}.escalate"), decision, is_due);
        let expire = self.expire(source, path, is_due);
        Some(Moments {
            due: match due {
                Some(due) => Some(due?),
                None => None,
            },
            remind: remind?,
            escalate: escalate?,
            expire: expire?,
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

    fn expire(&mut self, source: &source::Approval, path: &str, is_due: bool) -> Option<Option<Expiry>> {
        let silence = source.approve_by_silence.as_ref();
        let silence_path = format!("{path}.approve_by_silence");
        let Some(rule) = &source.expire else {
            if let Some(silence) = silence {
                let message = "this goes with `expire: { …, outcome: approve }`; without it, silence approves nothing";
                self.error(silence, &silence_path, message);
            }
            return Some(None);
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
        Some(Some(Expiry { at: at?, outcome: outcome? }))
    }

    fn step_moment<T>(&mut self, rule: &Spanned<T>, when: When<'_>, path: &str, is_due: bool) -> Option<Moment> {
        match (when.after, when.before_due, when.after_due) {
            (Some(after), None, None) => return self.lapse(after, &format!("{path}.after")).map(Moment::After),
            (None, Some(before), None) => {
                let path = format!("{path}.before_due");
                self.check_due(before, &path, is_due);
                self.lapse(before, &path).map(Moment::BeforeDue)
            }
            (None, None, Some(after)) => {
                let path = format!("{path}.after_due");
                self.check_due(after, &path, is_due);
                if duration::is_none(&after.value) {
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

    fn check_due(&mut self, at: &Text, path: &str, is_due: bool) {
        if !is_due {
            self.error(at, path, "the step has no `due`");
        }
    }

    fn lapse(&mut self, text: &Text, path: &str) -> Option<Lapse> {
        match duration::parse(&text.value) {
            Ok(milliseconds) => Some(Lapse::Time(milliseconds)),
            Err(message) => {
                self.error(text, path, message);
                None
            }
        }
    }
}
