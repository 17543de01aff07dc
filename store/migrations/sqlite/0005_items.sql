-- Claims of work items, questions to the submitter, and overrides of steps.

alter table work_item add column claimed_by text;
alter table work_item add column claimed_until text;
alter table work_item add column question text;
alter table work_item add column question_by text;
alter table work_item add column question_at text;

alter table step_run add column overridden_by text;
