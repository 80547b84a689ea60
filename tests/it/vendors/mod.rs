//! Every adapter against a vendor played over real HTTP: one behaviour suite, and a file a vendor that says what is
//! particular about it. A vendor that does not speak HTTP has tests of its own.

mod suite;

mod declarative;
mod esms;
mod hasun;
mod octopush;
mod simpu;
mod smtp;
