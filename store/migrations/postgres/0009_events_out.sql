-- Which submissions have events that other systems have not been told of.

create table event_outbox (
    tenant text not null,
    submission uuid not null,
    published bigint not null,
    version bigint not null,
    deliver_at timestamptz not null,
    primary key (tenant, submission)
) with (
    -- Every row is short-lived: room for its updates in its page, and vacuum before the table grows by those that left.
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);
comment on table event_outbox is 'Submissions whose log goes further than what the broker has confirmed. A row leaves when all is told.';
comment on column event_outbox.published is 'The broker has confirmed the events up to here.';
comment on column event_outbox.version is 'The events up to here are to be published.';
comment on column event_outbox.deliver_at is 'When the relay takes it up, unless the publisher of its commit was faster.';
create index event_outbox_to_deliver on event_outbox (deliver_at);
