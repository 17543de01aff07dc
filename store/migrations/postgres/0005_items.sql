-- Claims of work items, questions to the submitter, and overrides of steps.

alter table work_item add column claimed_by text;
alter table work_item add column claimed_until timestamptz;
alter table work_item add column question text;
alter table work_item add column question_by text;
alter table work_item add column question_at timestamptz;
comment on column work_item.claimed_by is 'Who keeps it for themselves, of those who share it.';
comment on column work_item.claimed_until is 'Until when; null: until they release it.';
comment on column work_item.question is 'What waits for the answer of the submitter.';

alter table step_run add column overridden_by text;
comment on column step_run.overridden_by is 'The administrator who settled it over the heads of those who were asked.';
