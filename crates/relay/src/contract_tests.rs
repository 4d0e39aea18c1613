//! Frames that PostgreSQL sent, and the records that every producer must make of their rows.

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use store::DeliveryText;

use crate::pgoutput::{Decoder, Unreadable};
use crate::record::Record;

const RECORDS: &str = include_str!("../tests/fixtures/records.jsonl");
const RELATION: &str = include_str!("../tests/fixtures/relation.hex");

#[derive(Deserialize)]
struct Fixture {
    what: String,
    row: Row,
    key: String,
    value: Value,
    wal: String,
}

#[derive(Deserialize)]
struct Row {
    id: Option<String>,
    event_id: Option<String>,
    endpoint_id: Option<String>,
    merchant_id: Option<String>,
    event_type: Option<String>,
    object_id: Option<String>,
    occurred_at: Option<String>,
    traceparent: Option<String>,
}

fn fixtures() -> Vec<Fixture> {
    RECORDS.lines().map(|line| serde_json::from_str(line).expect("a fixture")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let hex = hex.trim();
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

/// A relation frame of our own making: a table and its columns.
fn relation(table: &str, columns: &[&str]) -> Vec<u8> {
    let mut frame = b"R\0\0\0\x07public\0".to_vec();
    frame.extend_from_slice(table.as_bytes());
    frame.extend_from_slice(b"\0d");
    frame.extend_from_slice(&u16::try_from(columns.len()).expect("few").to_be_bytes());
    for column in columns {
        frame.push(0);
        frame.extend_from_slice(column.as_bytes());
        frame.extend_from_slice(b"\0\0\0\0\x19\xff\xff\xff\xff");
    }
    frame
}

/// An insert frame into that relation.
fn insert(values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut frame = b"I\0\0\0\x07N".to_vec();
    frame.extend_from_slice(&u16::try_from(values.len()).expect("few").to_be_bytes());
    for value in values {
        match value {
            None => frame.push(b'n'),
            Some(value) => {
                frame.push(b't');
                frame.extend_from_slice(&u32::try_from(value.len()).expect("short").to_be_bytes());
                frame.extend_from_slice(value);
            }
        }
    }
    frame
}

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

#[test]
fn every_captured_frame_becomes_the_key_and_the_value_of_the_contract() {
    let mut decoder = Decoder::default();
    assert_eq!(decoder.read(&bytes(RELATION)), Ok(None));
    let fixtures = fixtures();
    assert!(fixtures.len() >= 6);
    for Fixture { what, row, key, value, wal } in fixtures {
        let read = decoder.read(&bytes(&wal)).expect("readable").expect("a row").expect("sane");
        let expected = DeliveryText {
            id: row.id,
            event_id: row.event_id,
            endpoint_id: row.endpoint_id,
            merchant_id: row.merchant_id,
            event_type: row.event_type,
            object_id: row.object_id,
            occurred_at: row.occurred_at,
            traceparent: row.traceparent,
        };
        assert_eq!(read, expected, "{what}");
        let record = Record::of(&read).expect("a record");
        assert_eq!(record.key, key, "{what}");
        let made: Value = serde_json::from_slice(&record.value).expect("JSON");
        assert_eq!(made, value, "{what}");
    }
}

#[test]
fn the_fields_of_a_value_stand_in_the_order_of_the_contract_and_a_null_is_written() {
    let row = fixtures().remove(1).row;
    let text = DeliveryText {
        id: row.id,
        event_id: row.event_id,
        endpoint_id: row.endpoint_id,
        merchant_id: row.merchant_id,
        event_type: row.event_type,
        object_id: row.object_id,
        occurred_at: row.occurred_at,
        traceparent: None,
    };
    let value = String::from_utf8(Record::of(&text).expect("a record").value).expect("UTF-8");
    assert_eq!(
        value,
        "{\"delivery_id\":\"dlv_0198c5a4-1112-7abc-8def-0123456789ab\",\
         \"event_id\":\"evt_0198c5a4-2223-7abc-8def-0123456789ab\",\
         \"endpoint_id\":\"ep_0198c5a4-3333-7abc-8def-0123456789ab\",\
         \"merchant_id\":\"m_1\",\"event_type\":\"payment.refunded\",\
         \"object_id\":\"pay_0198c5a4-4444-7abc-8def-0123456789ab\",\
         \"occurred_at\":\"2026-11-23T16:58:02.337173Z\",\"traceparent\":null}"
    );
}

#[test]
fn columns_are_found_by_name_and_one_more_is_no_trouble() {
    let mut decoder = Decoder::default();
    let mut columns = COLUMNS.to_vec();
    columns.reverse();
    columns.insert(3, "added_later");
    assert_eq!(decoder.read(&relation("deliveries", &columns)), Ok(None));
    let values: Vec<Option<&[u8]>> = columns.iter().map(|name| Some(name.as_bytes())).collect();
    let row = decoder.read(&insert(&values)).expect("readable").expect("a row").expect("sane");
    assert_eq!(row.id.as_deref(), Some("id"));
    assert_eq!(row.traceparent.as_deref(), Some("traceparent"));
}

#[test]
fn a_table_that_is_described_anew_is_read_the_new_way() {
    let mut decoder = Decoder::default();
    decoder.read(&relation("deliveries", &COLUMNS)).expect("described");
    let mut columns = COLUMNS.to_vec();
    columns.insert(0, "added_in_front");
    decoder.read(&relation("deliveries", &columns)).expect("described again");
    let values: Vec<Option<&[u8]>> = columns.iter().map(|name| Some(name.as_bytes())).collect();
    let row = decoder.read(&insert(&values)).expect("readable").expect("a row").expect("sane");
    assert_eq!(row.id.as_deref(), Some("id"));
}

#[test]
fn a_column_that_is_missing_stops_the_stream_and_is_named() {
    let missing = relation("deliveries", &COLUMNS[..7]);
    let error = Decoder::default().read(&missing).expect_err("stops");
    assert_eq!(error, Unreadable::NoColumn { column: "traceparent" });
    assert!(error.to_string().contains("posthorn migrate"), "{error}");
}

#[test]
fn a_publication_that_carries_more_than_the_outboxs_inserts_stops_the_stream() {
    for (frame, what) in
        [(b"U\0\0\0\x07", "updates"), (b"D\0\0\0\x07", "deletes"), (b"T\0\0\0\x01", "truncates")]
    {
        let error = Decoder::default().read(frame).expect_err("stops");
        assert_eq!(error, Unreadable::NotAnInsert { what });
        assert!(error.to_string().contains("alter publication"), "{error}");
    }
    let other = Decoder::default().read(&relation("payments", &COLUMNS)).expect_err("stops");
    assert_eq!(other, Unreadable::OtherTable { table: "payments".to_owned() });
    let unknown = Decoder::default().read(&insert(&[None])).expect_err("stops");
    assert_eq!(unknown, Unreadable::UnknownRelation { oid: 7 });
}

#[test]
fn types_origins_and_only_they_are_passed_over() {
    assert_eq!(Decoder::default().read(b"Y\0\0\0\x07public\0t\0"), Ok(None));
    assert_eq!(Decoder::default().read(b"Oxxxxxxxxorigin\0"), Ok(None));
    assert!(Decoder::default().read(b"S\0\0\0\x07").is_err(), "streaming was not asked for");
    assert!(Decoder::default().read(b"").is_err());
}

#[test]
fn a_value_that_is_no_text_makes_the_row_odd_and_does_not_stop_the_stream() {
    let mut decoder = Decoder::default();
    decoder.read(&relation("deliveries", &COLUMNS)).expect("described");
    let mut values = [Some(b"x".as_slice()); 8];
    values[5] = Some(b"\xff\xfe");
    let odd = decoder.read(&insert(&values)).expect("readable").expect("a row").expect_err("odd");
    assert_eq!(odd.to_string(), "object_id is not UTF-8");
}

proptest! {
    #[test]
    fn a_frame_that_is_cut_off_is_malformed_wherever_it_is_cut(at in any::<prop::sample::Index>()) {
        let mut decoder = Decoder::default();
        let described = bytes(RELATION);
        let cut = at.index(described.len());
        prop_assert!(decoder.read(&described[..cut]).is_err());
        decoder.read(&described).expect("described");
        let row = bytes(&fixtures()[0].wal);
        let cut = at.index(row.len());
        prop_assert!(decoder.read(&row[..cut]).is_err(), "cut at {}", cut);
    }

    #[test]
    fn bytes_of_any_kind_never_make_the_decoder_panic(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut decoder = Decoder::default();
        let _ = decoder.read(&noise);
        let mut described = bytes(RELATION);
        let position = at.index(described.len());
        described[position] = byte;
        let _ = decoder.read(&described);
        decoder.read(&bytes(RELATION)).expect("described");
        let mut row = bytes(&fixtures()[0].wal);
        let position = at.index(row.len());
        row[position] = byte;
        if let Ok(Some(Ok(row))) = decoder.read(&row) {
            let _ = Record::of(&row);
        }
    }
}
