-- Since when events wait in the outbox, so that a broker that takes none is seen. Null where a version before this one wrote it.

alter table event_outbox add column since text;
