//! What a call does, as far as scopes go: the one table from what is done to the scopes that allow it.
//!
//! Whoever may make a thing may also look at it by its id, for a sender asks what became of what it sent. Lists and
//! searches show what others made, so they need `read`.

use crate::auth::scope::{Scope, Scopes};

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Starts, checks, resends or cancels a verification.
    Verify,
    /// Asks for the code in the answer to a start; besides [`Act::Verify`].
    ReturnCode,
    /// Looks at one verification.
    SeeVerification,
    ListVerifications,
    /// Sends or cancels messages.
    Send,
    /// Looks at one message, or at what one would be.
    SeeMessage,
    ListMessages,
    /// Watches whatever happens to the tenant's records.
    WatchEvents,
    /// Changes the contact list.
    WriteContacts,
    /// Looks at the table of contacts, or at one of its rows.
    SeeContact,
    SearchContacts,
    /// Asks what is left in the tenant's account.
    SeeBalance,
    /// Looks after the server.
    Administer,
}

// === impl Act ===

impl Act {
    /// The scopes of which a key needs one.
    pub const fn scopes(self) -> Scopes {
        match self {
            Self::Verify => Scopes::of(&[Scope::Verify]),
            Self::ReturnCode => Scopes::of(&[Scope::ReturnCode]),
            Self::SeeVerification => Scopes::of(&[Scope::Verify, Scope::Read]),
            Self::Send | Self::WriteContacts => Scopes::of(&[Scope::Send]),
            Self::SeeMessage | Self::SeeContact => Scopes::of(&[Scope::Send, Scope::Read]),
            Self::ListVerifications | Self::ListMessages | Self::SearchContacts | Self::WatchEvents => {
                Scopes::of(&[Scope::Read])
            }
            // Clients of vendors look before they send.
            Self::SeeBalance => Scopes::of(&[Scope::Verify, Scope::Send, Scope::Read]),
            Self::Administer => Scopes::of(&[Scope::Admin]),
        }
    }
}
