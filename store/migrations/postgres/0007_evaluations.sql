-- Conditions that a flow answers: a job may be of a stage's exit condition, and then has no step run.

alter table job alter column step_run drop not null;
comment on column job.step_run is 'Null for what evaluates the exit condition of a stage; its step is empty then.';
