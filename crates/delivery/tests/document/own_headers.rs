//! Headers that a merchant wants on its requests, and must not have.

use std::fmt::Write as _;

use posthorn_delivery::CustomHeaders;

const WANTED: &[(&str, &str)] = &[
    ("x-shop", "7"),
    ("authorization", "Bearer of-the-merchants-own"),
    ("x-shop", "7\r\nx-evil: 1"),
    ("x-shop", "7\nx-evil: 1"),
    ("x-shop", "7\0"),
    ("x shop", "7"),
    ("host", "169.254.169.254"),
    ("transfer-encoding", "chunked"),
    ("content-length", "0"),
    ("connection", "close"),
    ("webhook-signature", "v1,x"),
    ("webhook_id", "evt_another"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("metadata-flavor", "Google"),
    ("x-google-metadata-request", "True"),
    ("x-forwarded-for", "127.0.0.1"),
];

pub(crate) fn table() -> String {
    let mut table = String::from("| header | verdict | why |\n|---|---|---|\n");
    for (name, value) in WANTED {
        let (verdict, why) = match CustomHeaders::parse([(*name, *value)]) {
            Ok(_) => ("accepted", String::new()),
            Err(invalid) => ("refused", invalid.to_string()),
        };
        let header = format!("{name}: {value}").escape_debug().to_string();
        writeln!(table, "| `{header}` | {verdict} | {why} |").expect("a text");
    }
    table
}
