-- Since when events wait in the outbox, so that a broker that takes none is seen.

alter table event_outbox add column since timestamptz;
comment on column event_outbox.since is 'The commit by which the submission came into the outbox. Null where a version before this one wrote it.';
