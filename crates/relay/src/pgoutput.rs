//! pgoutput, protocol 1: the frames of the WAL stream, as far as this relay has a use for them.
//!
//! A frame's bytes come in; the columns of a row that was inserted into `deliveries` go out, found
//! by name. A column more is fine, a column less is not, and neither is a frame that says the
//! publication has changed: then the relay stops, and says what to do. Begin and Commit are read
//! by the client library. No row is ever skipped here.
//!
//! Source: PostgreSQL, "Logical Replication Message Formats".

use std::collections::HashMap;

use store::DeliveryText;

/// The outbox's table.
pub(crate) const TABLE: &str = "deliveries";
/// The columns that a record needs.
const COLUMNS: [&str; 8] = [
    "id",
    "event_id",
    "endpoint_id",
    "merchant_id",
    "event_type",
    "object_id",
    "occurred_at",
    "traceparent",
];

// The WAL keeps what the publication was when it was written: mending it does not mend the slot.
const AND_THEN: &str = "then drop the relay's slot with pg_drop_replication_slot() and start the \
    relay: it makes the slot anew and announces again what waits";

/// Why the stream cannot be read; a person must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A frame ends too early, or holds what the protocol does not have there.
    #[error(
        "a pgoutput frame of kind `{kind}` is malformed at {what}; is this PostgreSQL 15 or newer?"
    )]
    Malformed {
        /// The frame's first byte.
        kind: char,
        /// What could not be read.
        what: &'static str,
    },
    /// The publication publishes more than inserts.
    #[error(
        "the publication carries {what}, which the outbox must not: \
         `alter publication posthorn_deliveries set (publish = 'insert')`; {AND_THEN}"
    )]
    NotAnInsert {
        /// What came.
        what: &'static str,
    },
    /// The publication publishes another table.
    #[error(
        "the publication carries the table `{table}`: \
         `alter publication posthorn_deliveries set table deliveries`; {AND_THEN}"
    )]
    OtherTable {
        /// Its name.
        table: String,
    },
    /// The table lost a column.
    #[error(
        "`deliveries` has no column `{column}` in the WAL, and no record can be made without it: \
         run `posthorn migrate`, and check that the publication has no column list; {AND_THEN}"
    )]
    NoColumn {
        /// Its name.
        column: &'static str,
    },
    /// A row came whose table was never described.
    #[error("a row came of relation {oid}, which the stream never described")]
    UnknownRelation {
        /// The relation's number.
        oid: u32,
    },
}

/// Why one row cannot become a record. The row is parked, the stream goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Odd(pub(crate) String);

/// Reads frames, and remembers what they said about their tables.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    // Relation → where in its rows each of COLUMNS stands.
    positions: HashMap<u32, [usize; COLUMNS.len()]>,
}

impl Decoder {
    /// The row that this frame inserts, if it is one that inserts.
    pub(crate) fn read(
        &mut self,
        frame: &[u8],
    ) -> Result<Option<Result<DeliveryText, Odd>>, Unreadable> {
        let Some((&kind, body)) = frame.split_first() else {
            return Err(Unreadable::Malformed { kind: '?', what: "its kind" });
        };
        let mut body = Body { kind: char::from(kind), rest: body };
        match kind {
            b'R' => self.describe(&mut body).map(|()| None),
            b'I' => self.row(&mut body).map(Some),
            b'U' => Err(Unreadable::NotAnInsert { what: "updates" }),
            b'D' => Err(Unreadable::NotAnInsert { what: "deletes" }),
            b'T' => Err(Unreadable::NotAnInsert { what: "truncates" }),
            // A type, an origin: nothing that a record needs.
            b'Y' | b'O' => Ok(None),
            _ => Err(Unreadable::Malformed { kind: char::from(kind), what: "its kind" }),
        }
    }

    fn describe(&mut self, body: &mut Body<'_>) -> Result<(), Unreadable> {
        let oid = body.u32("the relation's number")?;
        body.text("the schema's name")?;
        let table = body.text("the table's name")?;
        body.u8("the replica identity")?;
        let count = body.u16("the number of columns")?;
        let mut names = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            body.u8("a column's flags")?;
            names.push(body.text("a column's name")?);
            body.u32("a column's type")?;
            body.u32("a column's type modifier")?;
        }
        if table != TABLE {
            return Err(Unreadable::OtherTable { table });
        }
        let mut positions = [0; COLUMNS.len()];
        for (position, column) in positions.iter_mut().zip(COLUMNS) {
            *position = names
                .iter()
                .position(|name| name == column)
                .ok_or(Unreadable::NoColumn { column })?;
        }
        self.positions.insert(oid, positions);
        Ok(())
    }

    fn row(&self, body: &mut Body<'_>) -> Result<Result<DeliveryText, Odd>, Unreadable> {
        let oid = body.u32("the relation's number")?;
        let positions = self.positions.get(&oid).ok_or(Unreadable::UnknownRelation { oid })?;
        if body.u8("the mark of a new row")? != b'N' {
            return Err(body.malformed("the mark of a new row"));
        }
        let count = body.u16("the number of columns")?;
        let mut values = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            values.push(body.value()?);
        }
        let mut texts: [Option<String>; COLUMNS.len()] = Default::default();
        for ((text, position), column) in texts.iter_mut().zip(positions).zip(COLUMNS) {
            let value = values.get(*position).ok_or(Unreadable::NoColumn { column })?;
            *text = match value.map(std::str::from_utf8).transpose() {
                Ok(text) => text.map(str::to_owned),
                Err(_) => return Ok(Err(Odd(format!("{column} is not UTF-8")))),
            };
        }
        let [
            id,
            event_id,
            endpoint_id,
            merchant_id,
            event_type,
            object_id,
            occurred_at,
            traceparent,
        ] = texts;
        Ok(Ok(DeliveryText {
            id,
            event_id,
            endpoint_id,
            merchant_id,
            event_type,
            object_id,
            occurred_at,
            traceparent,
        }))
    }
}

/// What is still unread of a frame.
struct Body<'a> {
    kind: char,
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    fn malformed(&self, what: &'static str) -> Unreadable {
        Unreadable::Malformed { kind: self.kind, what }
    }

    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], Unreadable> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(self.malformed(what))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Unreadable> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(self.malformed(what))?;
        self.rest = rest;
        Ok(*head)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, Unreadable> {
        Ok(u8::from_be_bytes(self.array(what)?))
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, Unreadable> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, Unreadable> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    fn text(&mut self, what: &'static str) -> Result<String, Unreadable> {
        let end = self.rest.iter().position(|b| *b == 0).ok_or(self.malformed(what))?;
        let text = self.take(end, what)?;
        self.take(1, what)?;
        std::str::from_utf8(text).map(str::to_owned).map_err(|_| self.malformed(what))
    }

    fn value(&mut self) -> Result<Option<&'a [u8]>, Unreadable> {
        match self.u8("a value's kind")? {
            b'n' => Ok(None),
            b't' => {
                let length = self.u32("a value's length")?;
                let length =
                    usize::try_from(length).map_err(|_| self.malformed("a value's length"))?;
                self.take(length, "a value").map(Some)
            }
            // Binary was not asked for, and an insert leaves no value out.
            _ => Err(self.malformed("a value's kind")),
        }
    }
}
