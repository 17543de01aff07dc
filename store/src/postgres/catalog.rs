//! Definitions and people, answered calls, and API tokens.

use deadpool_postgres::Pool;
use jiff::Timestamp;
use quorate_engine::{directory::Directory, id::Tenant};

use super::{
    columns::{Bulk, RowColumns},
    commit::load_catalog_versions,
    session::{Param, Session},
    sql,
    transaction::Work,
};
use crate::{
    StoreError,
    catalog::{ApiTokenRow, CatalogChange},
    locks::ManualLockChange,
    log::Hash,
    query::page_rows,
    rows::{read, write},
    store::{RequestKey, RequestRow},
};

pub(super) async fn catalog_version(pool: &Pool, tenant: &Tenant) -> Result<u64, StoreError> {
    let session = Session::open(pool).await?;
    let versions = load_catalog_versions(&session, std::slice::from_ref(tenant)).await?;
    session.release();
    Ok(versions.first().map_or(0, |(_, version)| *version))
}

pub(super) async fn directory(pool: &Pool, tenant: &Tenant) -> Result<Directory, StoreError> {
    let session = Session::open(pool).await?;
    let of: [Param<'_>; 1] = [&tenant.as_str()];
    let (users, groups, queues, delegations) = futures::try_join!(
        session.rows(sql!("directory_user/list"), &of, read::user),
        session.rows(sql!("directory_group/list"), &of, read::group),
        session.rows(sql!("directory_queue/list"), &of, read::queue),
        session.rows(sql!("directory_delegation/list"), &of, read::delegation),
    )?;
    session.release();
    Ok(Directory {
        users: users.into_iter().map(|user| (user.name.clone(), user)).collect(),
        groups: groups.into_iter().map(|group| (group.name.clone(), group)).collect(),
        queues: queues.into_iter().map(|queue| (queue.name.clone(), queue)).collect(),
        delegations: delegations.into_iter().map(|delegation| (delegation.name.clone(), delegation)).collect(),
    })
}

/// A page of versions of one name, newest first, below `before`.
pub(super) async fn page<T>(
    pool: &Pool,
    sql: &'static str,
    (tenant, name): (&Tenant, &str),
    before: Option<u32>,
    limit: u32,
    read: impl Fn(&mut RowColumns) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let before = before.map(i64::from);
    rows(pool, sql, &[&tenant.as_str(), &name, &before, &page_rows(limit)], read).await
}

/// A page of names, each in its active or else newest version.
pub(super) async fn list<T>(
    pool: &Pool,
    sql: &'static str,
    tenant: &Tenant,
    after: Option<&str>,
    limit: u32,
    read: impl Fn(&mut RowColumns) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    rows(pool, sql, &[&tenant.as_str(), &after, &page_rows(limit)], read).await
}

/// The rows of one statement.
pub(super) async fn rows<T>(
    pool: &Pool,
    sql: &'static str,
    params: &[Param<'_>],
    read: impl Fn(&mut RowColumns) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let session = Session::open(pool).await?;
    let rows = session.rows(sql, params, read).await?;
    session.release();
    Ok(rows)
}

pub(super) async fn change(pool: &Pool, change: &CatalogChange) -> Result<u64, StoreError> {
    let of = &change.tenant;
    let tenant = of.as_str();
    let expected = change.expected_version.cast_signed();
    let mut work = Work::default();
    // The row of the catalog comes first: changes of one tenant go one after the other.
    if expected == 0 {
        work.single(sql!("catalog/insert"), vec![&tenant]);
    } else {
        work.single_exactly(sql!("catalog/update"), vec![&tenant, &expected]);
    }
    let (processes, flows) = (change.processes_in_order(), change.flows_in_order());
    work.bulk(
        sql!("process_version/upsert"),
        Bulk::of(processes, |values, row| write::process_version(values, of, row)),
    );
    work.bulk(sql!("flow_version/upsert"), Bulk::of(flows, |values, row| write::flow_version(values, of, row)));
    work.bulk(
        sql!("calendar_version/upsert"),
        Bulk::of(change.calendars_in_order(), |values, row| write::calendar_version(values, of, row)),
    );
    work.bulk(sql!("directory_user/upsert"), Bulk::of(&change.users, |values, row| write::user(values, of, row)));
    work.bulk(sql!("directory_group/upsert"), Bulk::of(&change.groups, |values, row| write::group(values, of, row)));
    work.bulk(sql!("directory_queue/upsert"), Bulk::of(&change.queues, |values, row| write::queue(values, of, row)));
    work.bulk(
        sql!("directory_delegation/upsert"),
        Bulk::of(&change.delegations, |values, row| write::delegation(values, of, row)),
    );
    for (sql, gone) in [
        (sql!("directory_user/delete"), &change.users_gone),
        (sql!("directory_group/delete"), &change.groups_gone),
        (sql!("directory_queue/delete"), &change.queues_gone),
        (sql!("directory_delegation/delete"), &change.delegations_gone),
    ] {
        if !gone.is_empty() {
            work.single(sql, vec![&tenant, gone]);
        }
    }
    work.bulk(sql!("request/insert"), Bulk::of(&change.request, write::request));

    let session = Session::open(pool).await?;
    let committed = work.commit(&session).await;
    if matches!(committed, Ok(()) | Err(StoreError::Conflict)) {
        session.release();
    }
    committed.map(|()| change.expected_version + 1)
}

pub(super) async fn change_manual_lock(pool: &Pool, change: &ManualLockChange) -> Result<(), StoreError> {
    let ManualLockChange { tenant, lock, put, request, now } = change;
    let of = tenant.as_str();
    let mut work = Work::default();
    work.single(sql!("manual_lock/delete"), vec![&of, &lock.record_type, &lock.record_id, &lock.holder, now]);
    let set = if *put { Some(lock) } else { None };
    work.bulk(sql!("manual_lock/upsert"), Bulk::of(set, |values, row| write::manual_lock(values, tenant, row)));
    work.bulk(sql!("request/insert"), Bulk::of(request, write::request));
    let session = Session::open(pool).await?;
    let committed = work.commit(&session).await;
    if matches!(committed, Ok(()) | Err(StoreError::Conflict)) {
        session.release();
    }
    committed
}

pub(super) async fn request(pool: &Pool, key: &RequestKey) -> Result<Option<RequestRow>, StoreError> {
    let params: [Param<'_>; 3] =
        [&vec![key.tenant.as_str()], &vec![key.principal.as_str()], &vec![key.request_id.as_str()]];
    Ok(rows(pool, sql!("request/load"), &params, read::request).await?.pop())
}

pub(super) async fn forget_requests(pool: &Pool, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    write(pool, sql!("request/forget"), &[&before, &i64::from(limit)]).await
}

pub(super) async fn put_api_token(pool: &Pool, token: &ApiTokenRow) -> Result<(), StoreError> {
    let token = Bulk::of([token], write::api_token);
    write(pool, sql!("api_token/insert"), &token.params()).await?;
    Ok(())
}

pub(super) async fn api_token(pool: &Pool, hash: &Hash) -> Result<Option<ApiTokenRow>, StoreError> {
    Ok(rows(pool, sql!("api_token/get"), &[&hash.as_slice()], read::api_token).await?.pop())
}

pub(super) async fn delete_api_token(pool: &Pool, id: &str) -> Result<bool, StoreError> {
    Ok(write(pool, sql!("api_token/delete"), &[&id]).await? > 0)
}

async fn write(pool: &Pool, sql: &'static str, params: &[Param<'_>]) -> Result<u64, StoreError> {
    let session = Session::open(pool).await?;
    let written = session.write(sql, params).await?;
    session.release();
    Ok(written)
}
