//! Rows that were read, and columns of values for statements that write many rows at once.

use jiff::Timestamp;
use quorate_engine::Json;
use tokio_postgres::{
    Row,
    types::{FromSqlOwned, ToSql},
};
use uuid::Uuid;

use super::error::from_postgres;
use crate::{
    StoreError,
    rows::{Columns, Values},
};

/// The columns of a row, from left to right.
pub(super) struct RowColumns {
    row: Row,
    next: usize,
}

impl RowColumns {
    pub(super) fn new(row: Row) -> Self {
        Self { row, next: 0 }
    }

    fn get<T: FromSqlOwned>(&mut self) -> Result<T, StoreError> {
        let at = self.next;
        self.next += 1;
        self.row.try_get(at).map_err(|error| from_postgres(&error))
    }
}

impl Columns for RowColumns {
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
        self.get()
    }

    fn uuid_or_null(&mut self) -> Result<Option<Uuid>, StoreError> {
        self.get()
    }

    fn json_or_null(&mut self) -> Result<Option<Json>, StoreError> {
        self.get()
    }

    fn bytes_or_null(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        self.get()
    }
}

/// Many rows, as one array for each column: the parameters of one statement.
#[derive(Debug, Default)]
pub(super) struct Bulk<'a> {
    columns: Vec<Column<'a>>,
    at: usize,
    rows: usize,
}

#[derive(Debug)]
enum Column<'a> {
    Text(Vec<Option<&'a str>>),
    Number(Vec<Option<i64>>),
    Flag(Vec<bool>),
    Time(Vec<Option<Timestamp>>),
    Uuid(Vec<Option<Uuid>>),
    Json(Vec<Option<String>>),
    Bytes(Vec<Option<&'a [u8]>>),
}

impl<'a> Bulk<'a> {
    /// The rows that `write` writes, one for each item.
    pub(super) fn of<T>(items: impl IntoIterator<Item = T>, write: impl Fn(&mut Self, T)) -> Self {
        let mut bulk = Self::default();
        for item in items {
            write(&mut bulk, item);
            debug_assert_eq!(bulk.at, bulk.columns.len(), "each row has all columns");
            bulk.at = 0;
            bulk.rows += 1;
        }
        bulk
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The parameters: an array for each column.
    pub(super) fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.columns
            .iter()
            .map(|column| match column {
                Column::Text(values) => values as &(dyn ToSql + Sync),
                Column::Number(values) => values,
                Column::Flag(values) => values,
                Column::Time(values) => values,
                Column::Uuid(values) => values,
                Column::Json(values) => values,
                Column::Bytes(values) => values,
            })
            .collect()
    }

    /// The column that the next value goes to; made by the first row.
    fn next(&mut self, new: fn() -> Column<'a>) -> &mut Column<'a> {
        let at = self.at;
        self.at += 1;
        if self.rows == 0 {
            self.columns.push(new());
        }
        &mut self.columns[at]
    }
}

macro_rules! values {
    ($($method:ident($value:ty) $column:ident;)*) => {
        impl<'a> Values<'a> for Bulk<'a> {
            $(fn $method(&mut self, value: $value) {
                match self.next(|| Column::$column(Vec::new())) {
                    Column::$column(values) => values.push(value),
                    other => unreachable!("every row is written by one function, and this column is {other:?}"),
                }
            })*
        }
    };
}

values! {
    text(Option<&'a str>) Text;
    number(Option<i64>) Number;
    flag(bool) Flag;
    time(Option<Timestamp>) Time;
    uuid(Option<Uuid>) Uuid;
    json(Option<String>) Json;
    bytes(Option<&'a [u8]>) Bytes;
}
