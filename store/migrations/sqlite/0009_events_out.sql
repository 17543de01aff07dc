-- Which submissions have events that other systems have not been told of.

create table event_outbox (
    tenant text not null,
    submission text not null,
    published integer not null,
    version integer not null,
    deliver_at text not null,
    primary key (tenant, submission)
) strict, without rowid;
create index event_outbox_to_deliver on event_outbox (deliver_at);
