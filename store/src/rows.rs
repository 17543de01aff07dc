//! One place for how rows are read and written, for both stores: each row type has one function to read it from
//! [`Columns`] and one to write it to [`Values`], in the order in which the SQL files name the columns.

pub(crate) mod read;
pub(crate) mod write;

use jiff::{SignedDuration, Timestamp};
use quorate_engine::{Json, projection::JobRow, status::JobStatus};
use uuid::Uuid;

use crate::StoreError;

/// The columns of a row that was read, from left to right.
pub(crate) trait Columns {
    /// The next column: text that may be null.
    fn text_or_null(&mut self) -> Result<Option<String>, StoreError>;
    /// The next column: a whole number that may be null.
    fn number_or_null(&mut self) -> Result<Option<i64>, StoreError>;
    /// The next column: a truth value.
    fn flag(&mut self) -> Result<bool, StoreError>;
    /// The next column: a time that may be null.
    fn time_or_null(&mut self) -> Result<Option<Timestamp>, StoreError>;
    /// The next column: an id that may be null.
    fn uuid_or_null(&mut self) -> Result<Option<Uuid>, StoreError>;
    /// The next column: JSON that may be null.
    fn json_or_null(&mut self) -> Result<Option<Json>, StoreError>;
    /// The next column: bytes that may be null.
    fn bytes_or_null(&mut self) -> Result<Option<Vec<u8>>, StoreError>;

    /// The next column: text.
    fn text(&mut self) -> Result<String, StoreError> {
        self.text_or_null()?.ok_or_else(is_null)
    }

    /// The next column: a whole number.
    fn number<T: TryFrom<i64>>(&mut self) -> Result<T, StoreError> {
        self.small_or_null()?.ok_or_else(is_null)
    }

    /// The next column: a whole number of a smaller type that may be null.
    fn small_or_null<T: TryFrom<i64>>(&mut self) -> Result<Option<T>, StoreError> {
        let number = self.number_or_null()?;
        number
            .map(|number| {
                T::try_from(number).map_err(|_| StoreError::Internal(format!("stored number {number} is out of range")))
            })
            .transpose()
    }

    /// The next column: a time.
    fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.time_or_null()?.ok_or_else(is_null)
    }

    /// The next column: an id.
    fn uuid(&mut self) -> Result<Uuid, StoreError> {
        self.uuid_or_null()?.ok_or_else(is_null)
    }

    /// The next column: JSON.
    fn json(&mut self) -> Result<Json, StoreError> {
        self.json_or_null()?.ok_or_else(is_null)
    }

    /// The next column: a hash.
    fn hash(&mut self) -> Result<crate::log::Hash, StoreError> {
        let bytes = self.bytes_or_null()?.ok_or_else(is_null)?;
        bytes.try_into().map_err(|_| StoreError::Internal("a stored hash has not 32 bytes".to_owned()))
    }

    /// The next column: one of a few known words.
    fn word<T>(&mut self, parse: impl Fn(&str) -> Option<T>) -> Result<T, StoreError> {
        self.word_or_null(parse)?.ok_or_else(is_null)
    }

    /// The next column: one of a few known words, or null.
    fn word_or_null<T>(&mut self, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, StoreError> {
        let text = self.text_or_null()?;
        text.map(|text| parse(&text).ok_or_else(|| StoreError::Internal(format!("stored word `{text}` is unknown"))))
            .transpose()
    }
}

fn is_null() -> StoreError {
    StoreError::Internal("a column is null that cannot be".to_owned())
}

/// The values of a row to be written, from left to right.
pub(crate) trait Values<'a> {
    /// The next value: text.
    fn text(&mut self, value: Option<&'a str>);
    /// The next value: a whole number.
    fn number(&mut self, value: Option<i64>);
    /// The next value: a truth value.
    fn flag(&mut self, value: bool);
    /// The next value: a time.
    fn time(&mut self, value: Option<Timestamp>);
    /// The next value: an id.
    fn uuid(&mut self, value: Option<Uuid>);
    /// The next value: JSON, as canonical text.
    fn json(&mut self, value: Option<String>);
    /// The next value: bytes.
    fn bytes(&mut self, value: Option<&'a [u8]>);
}

/// When somebody has to look at a job: its deadline, or the end of the silence that it may keep once it runs.
pub(crate) fn due_at(
    deadline: Option<Timestamp>,
    heard_at: Option<Timestamp>,
    heartbeat_timeout: Option<SignedDuration>,
) -> Option<Timestamp> {
    let silence = heard_at.zip(heartbeat_timeout).map(|(at, timeout)| later(at, timeout));
    deadline.into_iter().chain(silence).min()
}

/// When a job that is written now is to be delivered by the relay: not before its own publisher has had its chance.
fn deliver_at(job: &JobRow, now: Timestamp, publish_grace: SignedDuration) -> Option<Timestamp> {
    (job.status == JobStatus::Pending)
        .then(|| if job.available_at <= now { later(now, publish_grace) } else { job.available_at })
}

fn later(at: Timestamp, duration: SignedDuration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}
