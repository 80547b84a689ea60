//! The store on Redis: what the suite of all stores (`store.rs`) cannot ask of the others. Against real servers.

mod attacks;
mod failover;
mod gateway;
mod index;
mod moving;
mod opening;
mod outages;
mod replicas;
mod settings;
