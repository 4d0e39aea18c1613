//! What signing and the guard cost an attempt, in microseconds: `make cost`. Fails when both together
//! cost more than 50 µs.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use domain::guard::{AllowedNetworks, UrlPolicy, check_url};
use posthorn_delivery::secrets::{KeyRing, Secret};
use posthorn_delivery::sign::signature;
use uuid::Uuid;

const ROUNDS: u32 = 20_000;
/// Of signing by HMAC and the guard together: noise beside the milliseconds that a request takes.
const COST_US_MAX: f64 = 50.0;

const URL: &str = "https://hooks.merchant.example/v1/webhooks/incoming?source=posthorn";

fn microseconds(name: &str, mut work: impl FnMut()) -> f64 {
    work();
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        work();
    }
    let cost = begun.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS);
    println!("{cost:>8.2} µs  {name}");
    cost
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let body = vec![b'x'; 600];
    let (symmetric, pair) = ([Secret::generate()?], [Secret::generate_asymmetric()?]);
    let (policy, networks) = (UrlPolicy::default(), AllowedNetworks::public_only());
    let addresses: [IpAddr; 2] = ["93.184.216.34".parse()?, "2606:4700:4700::1111".parse()?];
    let ring = KeyRing::parse(&KeyRing::generate_line("k1")?)?;
    let endpoint = Uuid::now_v7().into();
    let sealed = ring.seal(&symmetric[0], endpoint, 1)?;

    let sign = microseconds("sign 600 bytes by HMAC-SHA256 (v1)", || {
        black_box(signature(&symmetric, "evt_1", 1_700_000_000, black_box(&body)));
    });
    microseconds("sign 600 bytes by ed25519 (v1a)", || {
        black_box(signature(&pair, "evt_1", 1_700_000_000, black_box(&body)));
    });
    let url = microseconds("judge a URL", || {
        let _ = black_box(check_url(black_box(URL), &policy, &networks));
    });
    let address = microseconds("judge two addresses, twice", || {
        for address in addresses.iter().chain(&addresses) {
            let _ = black_box(networks.check(black_box(*address)));
        }
    });
    let open = microseconds("open a sealed secret", || {
        let _ = black_box(ring.open(black_box(&sealed), endpoint, 1));
    });
    let all = sign + url + address + open;
    println!("{all:>8.2} µs  all but ed25519, of {COST_US_MAX} allowed");
    if all > COST_US_MAX {
        return Err("signing and the guard cost too much".into());
    }
    Ok(())
}
