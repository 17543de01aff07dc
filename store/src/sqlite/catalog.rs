//! Definitions and people.

use quorate_engine::{directory::Directory, id::Tenant};
use rusqlite::Connection;

use super::{
    columns::{rows, write_each},
    commit::in_transaction,
    sql,
};
use crate::{
    StoreError,
    catalog::CatalogChange,
    locks::ManualLockChange,
    rows::{Values, read, write},
};

pub(super) fn directory(connection: &mut Connection, tenant: &Tenant) -> Result<Directory, StoreError> {
    let of = [tenant.as_str()];
    let users = rows(connection, sql!("directory_user/list"), of, |columns| read::user(columns))?;
    let groups = rows(connection, sql!("directory_group/list"), of, |columns| read::group(columns))?;
    let queues = rows(connection, sql!("directory_queue/list"), of, |columns| read::queue(columns))?;
    let delegations = rows(connection, sql!("directory_delegation/list"), of, |columns| read::delegation(columns))?;
    Ok(Directory {
        users: users.into_iter().map(|user| (user.name.clone(), user)).collect(),
        groups: groups.into_iter().map(|group| (group.name.clone(), group)).collect(),
        queues: queues.into_iter().map(|queue| (queue.name.clone(), queue)).collect(),
        delegations: delegations.into_iter().map(|delegation| (delegation.name.clone(), delegation)).collect(),
    })
}

pub(super) fn change(connection: &mut Connection, change: &CatalogChange) -> Result<u64, StoreError> {
    in_transaction(connection, |transaction| write_change(transaction, change))?;
    Ok(change.expected_version + 1)
}

pub(super) fn change_manual_lock(connection: &mut Connection, change: &ManualLockChange) -> Result<(), StoreError> {
    let ManualLockChange { tenant, lock, put, request, now } = change;
    in_transaction(connection, |transaction| {
        write_each(transaction, sql!("manual_lock/delete"), [lock], |values, lock| {
            values.text(Some(tenant.as_str()));
            values.text(Some(&lock.record_type));
            values.text(Some(&lock.record_id));
            values.text(Some(&lock.holder));
            values.time(Some(*now));
        })?;
        let set = if *put { Some(lock) } else { None };
        write_each(transaction, sql!("manual_lock/upsert"), set, |values, row| {
            write::manual_lock(values, tenant, row);
        })?;
        write_each(transaction, sql!("request/insert"), request, |values, row| write::request(values, row))?;
        Ok(())
    })
}

fn write_change(to: &Connection, change: &CatalogChange) -> Result<(), StoreError> {
    let of = &change.tenant;
    let expected = change.expected_version.cast_signed();
    if expected == 0 {
        write_each(to, sql!("catalog/insert"), [of], |values, of| values.text(Some(of.as_str())))?;
    } else {
        let changed = write_each(to, sql!("catalog/update"), [of], |values, of| {
            values.text(Some(of.as_str()));
            values.number(Some(expected));
        })?;
        if changed != 1 {
            return Err(StoreError::Conflict);
        }
    }
    write_each(to, sql!("process_version/upsert"), change.processes_in_order(), |values, row| {
        write::process_version(values, of, row);
    })?;
    write_each(to, sql!("flow_version/upsert"), change.flows_in_order(), |values, row| {
        write::flow_version(values, of, row);
    })?;
    write_each(to, sql!("calendar_version/upsert"), change.calendars_in_order(), |values, row| {
        write::calendar_version(values, of, row);
    })?;
    write_each(to, sql!("directory_user/upsert"), &change.users, |values, row| write::user(values, of, row))?;
    write_each(to, sql!("directory_group/upsert"), &change.groups, |values, row| write::group(values, of, row))?;
    write_each(to, sql!("directory_queue/upsert"), &change.queues, |values, row| write::queue(values, of, row))?;
    write_each(to, sql!("directory_delegation/upsert"), &change.delegations, |values, row| {
        write::delegation(values, of, row);
    })?;
    for (sql, gone) in [
        (sql!("directory_user/delete"), &change.users_gone),
        (sql!("directory_group/delete"), &change.groups_gone),
        (sql!("directory_queue/delete"), &change.queues_gone),
        (sql!("directory_delegation/delete"), &change.delegations_gone),
    ] {
        write_each(to, sql, gone, |values, name| {
            values.text(Some(of.as_str()));
            values.text(Some(name));
        })?;
    }
    write_each(to, sql!("request/insert"), &change.request, |values, row| write::request(values, row))?;
    Ok(())
}
