//! What the fuzzer's programs run. The targets are run by the tests of the package, too.

mod targets;

#[path = "../../tests/it/support/store_model.rs"]
mod store_model;

/// Parts of the tests that targets stand on, under the name that they have there.
mod support {
    pub(crate) use crate::store_model;
}

/// Runs the target of this name over an input, and panics where a promise is broken.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = targets::ALL.into_iter().find(|(known, _)| *known == name).expect("the name of a target");
    target(data);
}
