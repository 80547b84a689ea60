//! Codes that vendors make and check, over real gRPC against a whole gateway and the four services that offer that, each
//! played over real HTTP: our states, caps and events stay in front of them, whatever they answer.

mod attacks;
mod constraints;
mod interruptions;
mod life;
mod places;
mod secrecy;
mod trouble;

use crate::support::code_maker::{CodeMaker, Kind};
use crate::support::gateway::{CONFIG, Gateway};

const SMS_ROUTE: &str = "[[routes]]\nchannel = \"sms\"\nvendors = [\"inbox\"]\n";

/// A gateway whose text messages go to these vendors, who make the codes, in this order.
async fn house(makers: &[&CodeMaker]) -> Gateway {
    Gateway::start_with(&config(makers, "")).await
}

/// `more`: keys of the route.
fn config(makers: &[&CodeMaker], more: &str) -> String {
    let names: Vec<_> = (0..makers.len()).map(|index| format!("maker{index}")).collect();
    let route = format!("[[routes]]\nchannel = \"sms\"\ncodes = \"vendor\"\nvendors = {names:?}\n{more}\n");
    let vendors = names.iter().zip(makers).map(|(name, maker)| maker.config(name));
    CONFIG.replacen(SMS_ROUTE, &route, 1) + &vendors.collect::<String>()
}

/// A code of the same length that is not this one.
fn wrong(code: &str, turn: u32) -> String {
    let number: u128 = code.parse().unwrap();
    let width = code.len();
    format!("{:0width$}", (number + 1 + u128::from(turn)) % 10_u128.pow(width as u32))
}

/// A maker of each kind, with a gateway of its own.
async fn each() -> Vec<(CodeMaker, Gateway)> {
    let mut houses = Vec::new();
    for kind in Kind::ALL {
        let maker = CodeMaker::start(kind).await;
        let gateway = house(&[&maker]).await;
        houses.push((maker, gateway));
    }
    houses
}
