//! The book under `docs/`, and every other page of the repository, held to their word.
//!
//! - Links within the repository lead somewhere, also to headings, and the book's summary lists each page of it once.
//! - The references of the settings and of the calls are what `defaults.toml` and the contract make of them:
//!   `UPDATE_DOCS=1 cargo test --test it docs` writes them anew.
//! - Every block of configuration loads, alone or, marked `toml,part`, over a small file that it is a part of; every
//!   setting that prose names is there.
//! - The commands of the tutorial and of the guides for vendors' clients run against the real program.
//! - The real `mdbook` builds the book without a warning.

mod api;
mod book;
mod commands;
mod configuration;
mod links;
mod pages;
mod settings;
