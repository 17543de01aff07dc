//! Rows that are read, and values that are bound. Times are RFC 3339 text in UTC with six fractional digits, so that they sort;
//! ids are text, JSON is text.

use jiff::Timestamp;
use quorate_engine::Json;
use rusqlite::{CachedStatement, Connection, Params, Row, ToSql, types::FromSql};
use uuid::Uuid;

use super::error::from_sqlite;
use crate::{
    StoreError,
    rows::{Columns, Values},
};

/// The columns of a row, from left to right.
pub(super) struct RowColumns<'r> {
    row: &'r Row<'r>,
    next: usize,
}

impl RowColumns<'_> {
    fn get<T: FromSql>(&mut self) -> Result<T, StoreError> {
        let at = self.next;
        self.next += 1;
        self.row.get(at).map_err(from_sqlite)
    }

    fn parsed<T, E: std::fmt::Display>(
        &mut self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, StoreError> {
        let text: Option<String> = self.get()?;
        text.map(|text| {
            parse(&text).map_err(|error| StoreError::Internal(format!("stored text cannot be read: {error}")))
        })
        .transpose()
    }
}

impl Columns for RowColumns<'_> {
    fn text_or_null(&mut self) -> Result<Option<String>, StoreError> {
        self.get()
    }

    fn number_or_null(&mut self) -> Result<Option<i64>, StoreError> {
        self.get()
    }

    fn flag(&mut self) -> Result<bool, StoreError> {
        self.get()
    }

    fn time_or_null(&mut self) -> Result<Option<Timestamp>, StoreError> {
        self.parsed(str::parse)
    }

    fn uuid_or_null(&mut self) -> Result<Option<Uuid>, StoreError> {
        self.parsed(Uuid::try_parse)
    }

    fn json_or_null(&mut self) -> Result<Option<Json>, StoreError> {
        self.parsed(|text| serde_json::from_str(text))
    }

    fn bytes_or_null(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        self.get()
    }
}

/// A time as it is stored.
pub(super) fn time_text(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// The rows of a statement.
pub(super) fn rows<T>(
    connection: &Connection,
    sql: &'static str,
    params: impl Params,
    read: impl Fn(&mut RowColumns<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(from_sqlite)?;
    let mut rows = statement.query(params).map_err(from_sqlite)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(from_sqlite)? {
        found.push(read(&mut RowColumns { row, next: 0 })?);
    }
    Ok(found)
}

/// The one row of a statement, where there is one.
pub(super) fn row<T>(
    connection: &Connection,
    sql: &'static str,
    params: impl Params,
    read: impl Fn(&mut RowColumns<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    Ok(rows(connection, sql, params, read)?.pop())
}

/// Runs a statement once for each item. Answers how many rows it wrote in all.
pub(super) fn write_each<T>(
    connection: &Connection,
    sql: &'static str,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut Binding<'_>, T),
) -> Result<usize, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(from_sqlite)?;
    let mut written = 0;
    for item in items {
        let mut binding = Binding { statement, bound: Ok(()), next: 1 };
        write(&mut binding, item);
        binding.bound.map_err(from_sqlite)?;
        statement = binding.statement;
        written += statement.raw_execute().map_err(from_sqlite)?;
    }
    Ok(written)
}

/// The parameters of a statement, bound from left to right.
pub(super) struct Binding<'c> {
    statement: CachedStatement<'c>,
    bound: rusqlite::Result<()>,
    next: usize,
}

impl Binding<'_> {
    fn bind(&mut self, value: impl ToSql) {
        if self.bound.is_ok() {
            self.bound = self.statement.raw_bind_parameter(self.next, value);
        }
        self.next += 1;
    }
}

impl<'a> Values<'a> for Binding<'_> {
    fn text(&mut self, value: Option<&'a str>) {
        self.bind(value);
    }

    fn number(&mut self, value: Option<i64>) {
        self.bind(value);
    }

    fn flag(&mut self, value: bool) {
        self.bind(value);
    }

    fn time(&mut self, value: Option<Timestamp>) {
        self.bind(value.map(time_text));
    }

    fn uuid(&mut self, value: Option<Uuid>) {
        self.bind(value.map(|id| id.to_string()));
    }

    fn json(&mut self, value: Option<String>) {
        self.bind(value);
    }

    fn bytes(&mut self, value: Option<&'a [u8]>) {
        self.bind(value);
    }
}
