//! What becomes of data: backups and what is restored from them, what is erased, shown, kept and rewritten.

mod backup;
mod erase;
mod program;
mod retention;
mod rewrite;
mod snapshot;
mod traces;
