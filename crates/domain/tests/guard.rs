//! The guard against its two tables of cases, and against made-up URLs.
//!
//! The tables are data, one JSON object a line; a row that is added there is tested here.

use std::net::IpAddr;

use domain::guard::{AllowedNetworks, Host, UrlPolicy, UrlRefusal, check_url};
use ipnet::IpNet;
use proptest::prelude::*;
use serde_json::Value;

fn rows(jsonl: &str) -> Vec<Value> {
    let rows: Vec<Value> =
        jsonl.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    assert!(rows.len() > 40, "the table is not whole");
    rows
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("{row} has no {field}"))
}

fn strict(url: &str) -> Result<String, &'static str> {
    check_url(url, &UrlPolicy::default(), &AllowedNetworks::public_only())
        .map(|url| url.to_string())
        .map_err(|refusal| refusal.code())
}

fn loopback() -> AllowedNetworks {
    let network: IpNet = "127.0.0.0/8".parse().expect("a network");
    AllowedNetworks::public_only().with([network])
}

fn http_too() -> UrlPolicy {
    UrlPolicy { allow_http: true, ..UrlPolicy::default() }
}

#[test]
fn every_url_of_the_table_gets_its_verdict_its_reason_and_its_canonical_form() {
    for row in rows(include_str!("data/endpoint_urls.jsonl")) {
        let verdict = strict(text(&row, "url"));
        let expected = match text(&row, "expect") {
            "accept" => Ok(text(&row, "canonical").to_owned()),
            _ => Err(text(&row, "reason")),
        };
        assert_eq!(verdict, expected, "{row}");
    }
}

#[test]
fn every_address_of_the_table_gets_its_verdict() {
    let networks = AllowedNetworks::public_only();
    for row in rows(include_str!("data/addresses.jsonl")) {
        let address: IpAddr = text(&row, "address").parse().expect("an address");
        let is_allowed = networks.check(address).is_ok();
        assert_eq!(is_allowed, text(&row, "expect") == "allow", "{row}");
    }
}

#[test]
fn what_the_tables_leave_out_gets_its_verdict_too() {
    let cases: &[(&str, &str)] = &[
        ("http://example.com/", "scheme"),
        ("https://127.0.0.1/", "blocked_ip"),
        ("https://256.256.256.256/", "unparsable"),
        ("https://0xa9fea9fe/", "blocked_ip"),
        ("https://172.16.0.1/", "blocked_ip"),
        ("https://192.168.1.1/", "blocked_ip"),
        ("https://168.63.129.17/", "ip_literal"),
        ("https://192.0.0.192/", "blocked_ip"),
        ("https://255.255.255.255/", "blocked_ip"),
        ("https://[::1]/", "blocked_ip"),
        ("https://[64:ff9b:1::a9fe:a9fe]/", "blocked_ip"),
        ("https://[2002:7f00:1::]/", "blocked_ip"),
        ("https://[fd00:ec2::254]/", "blocked_ip"),
        ("https://[fd20:ce::254]/", "blocked_ip"),
        ("https://[127.0.0.1]/", "unparsable"),
        ("https://::1/", "unparsable"),
        ("https://LOCALHOST./", "single_label_host"),
        ("https://loc%61lhost/", "bad_char"),
        ("https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/", "bad_char"),
        ("https://example.com\\@127.0.0.1/", "bad_char"),
        ("https://127.0.0.1\\@example.com/", "bad_char"),
        ("https://example.com#@127.0.0.1/", "fragment"),
        ("https://example.com:0/", "port"),
        ("https://example.com:9070/", "port"),
        ("https://example.com:80/", "port"),
        (" https://example.com/", "bad_char"),
        ("https://exa\tmple.com/", "bad_char"),
        ("https://xn--a/", "unparsable"),
        ("https://-a.com/", "bad_host"),
        ("https://a..com/", "bad_host"),
        ("https://example.com../", "bad_host"),
        ("https://*.example.com/", "bad_host"),
        ("https://", "unparsable"),
        ("", "unparsable"),
        ("example.com", "unparsable"),
        ("ftp://example.com/", "scheme"),
        ("https://router.lan/", "reserved_tld"),
        ("https://1.0.0.127.in-addr.arpa/", "reserved_tld"),
    ];
    for (url, reason) in cases {
        assert_eq!(strict(url), Err(*reason), "{url}");
    }
    let accepted: &[(&str, &str)] = &[
        ("https://example.com/hook", "https://example.com/hook"),
        ("https://EXAMPLE.com./hook", "https://example.com/hook"),
        ("https://example.com", "https://example.com/"),
        ("https://example.com:8443/h?a=b", "https://example.com:8443/h?a=b"),
        ("https://example.com/%0d%0aX:1", "https://example.com/%0d%0aX:1"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
    ];
    for (url, canonical) in accepted {
        assert_eq!(strict(url).as_deref(), Ok(*canonical), "{url}");
    }
}

#[test]
fn an_address_or_localhost_in_a_network_that_the_operator_allows_may_have_any_port() {
    let verdict = |url| check_url(url, &http_too(), &loopback()).map_err(|refusal| refusal.code());
    for url in [
        "http://127.0.0.1:4001/hook",
        "http://localhost:4001/hook",
        "https://localhost./",
        "http://127.9.9.9:65535/",
        "http://[::ffff:127.0.0.1]:81/",
    ] {
        assert!(verdict(url).is_ok(), "{url}: {:?}", verdict(url));
    }
    for (url, reason) in [
        ("http://10.0.0.1:4001/", "port"),
        ("http://10.0.0.1/", "blocked_ip"),
        ("http://[::1]/", "blocked_ip"),
        ("http://example.com:4001/", "port"),
        ("http://foo.localhost/", "reserved_tld"),
        ("http://user@127.0.0.1:4001/", "userinfo"),
        ("http://127.0.0.1:4001/#x", "fragment"),
        ("http://8.8.8.8/", "ip_literal"),
    ] {
        assert_eq!(verdict(url).map(|url| url.to_string()), Err(reason), "{url}");
    }
    assert!(check_url("http://127.0.0.1/", &UrlPolicy::default(), &loopback()).is_err());
}

#[test]
fn the_operators_own_names_are_refused_with_all_below_them() {
    let policy =
        UrlPolicy { own_domains: vec!["posthorn.example".to_owned()], ..UrlPolicy::default() };
    let verdict = |url| check_url(url, &policy, &AllowedNetworks::public_only());
    for url in ["https://posthorn.example/", "https://API.posthorn.example./"] {
        assert_eq!(verdict(url), Err(UrlRefusal::OwnDomain), "{url}");
    }
    assert!(verdict("https://notposthorn.example/").is_ok());
}

#[test]
fn a_refusal_never_repeats_the_url() {
    for url in ["https://user:hunter2@example.com/", "https://localhost/?token=hunter2"] {
        let refusal = check_url(url, &UrlPolicy::default(), &AllowedNetworks::public_only())
            .expect_err("refused");
        assert!(!format!("{refusal} {refusal:?}").contains("hunter2"));
    }
}

/// Pieces that parsers are known to stumble over, glued together at random.
fn odd_url() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("https://".to_owned()),
        Just("http:".to_owned()),
        Just("//".to_owned()),
        Just("/".to_owned()),
        Just("@".to_owned()),
        Just(":".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just("%2e".to_owned()),
        Just("#".to_owned()),
        Just("?".to_owned()),
        Just(".".to_owned()),
        Just("0x7f".to_owned()),
        Just("0177".to_owned()),
        Just("127.0.0.1".to_owned()),
        Just("::ffff:7f00:1".to_owned()),
        Just("example.com".to_owned()),
        Just("xn--".to_owned()),
        Just("443".to_owned()),
        "[ -~]{1,3}",
        "[0-9]{1,10}",
        "[a-z0-9-]{1,8}",
    ];
    (any::<bool>(), prop::collection::vec(piece, 1..8)).prop_map(|(begins_well, pieces)| {
        let start = if begins_well { "https://" } else { "" };
        format!("{start}{}", pieces.concat())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn an_accepted_url_has_a_public_name_as_host_and_is_its_own_canonical_form(url in odd_url()) {
        if let Ok(canonical) =
            check_url(&url, &UrlPolicy::default(), &AllowedNetworks::public_only())
        {
            prop_assert_eq!(strict(canonical.as_str()), Ok(canonical.to_string()), "{}", url);
            prop_assert!(canonical.is_https());
            match canonical.host() {
                Host::Name(name) => prop_assert!(
                    name.contains('.') && name.parse::<IpAddr>().is_err(), "{}", url
                ),
                other => prop_assert!(false, "{} became {:?}", url, other),
            }
        }
    }

    #[test]
    fn with_everything_allowed_an_address_in_a_url_still_is_one_that_may_be_reached(
        url in odd_url(),
    ) {
        if let Ok(canonical) = check_url(&url, &http_too(), &loopback())
            && let Host::Address(address) = canonical.host()
        {
            prop_assert!(loopback().check(address).is_ok(), "{} became {}", url, address);
        }
    }
}
