//! What operators see: traces at a collector, metrics on a page, and that neither grows or tells what it must not.

mod bounds;
mod catalog;
mod deploy;
mod export;
mod promtool;
mod site;
mod traces;
