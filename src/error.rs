//! The one error type: what kind, the machine-readable reason, words for the caller, and when to come back.
//!
//! `message` is written for the caller and may leave the process. `source` is for our logs only.
//! Which status an error becomes on a wire is decided in `status`, not here.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// Shorthand for results of this house.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync>;

/// Why an operation was refused or failed.
pub struct Error {
    kind: Kind,
    reason: Reason,
    message: String,
    retry_after: Option<Duration>,
    violations: Vec<Violation>,
    details: Vec<(&'static str, String)>,
    source: Option<Source>,
}

/// The class of an error: decides the status on every surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request can never succeed as it is.
    Invalid,
    /// No credentials, or wrong ones.
    Unauthenticated,
    /// Known caller, not allowed.
    Forbidden,
    /// No such thing, or not this tenant's.
    NotFound,
    /// There is one already.
    Exists,
    /// Fits the rules, but not the state that things are in.
    Precondition,
    /// Lost a race that may be run again.
    Conflict,
    /// A limit was reached; waiting helps.
    Limited,
    /// Part of us or of the world is away; trying again helps.
    Unavailable,
    /// The caller's deadline passed.
    Deadline,
    /// Known to the contract, not served by this build.
    Unimplemented,
    /// Our fault.
    Internal,
}

/// One list of reasons, each with its name on every wire.
macro_rules! reasons {
    ($($reason:ident = $name:literal,)*) => {
        /// The machine-readable reason. Each has a twin in `verigate.error.v1.ErrorReason`, checked by test.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($reason,)*
        }

        impl Reason {
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$reason),*];

            /// The name on every wire, such as `COOL_DOWN`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)*
                }
            }
        }
    };
}

reasons! {
    InvalidField = "INVALID_FIELD",
    CredentialsMissing = "CREDENTIALS_MISSING",
    CredentialsInvalid = "CREDENTIALS_INVALID",
    CredentialsExpired = "CREDENTIALS_EXPIRED",
    NotPermitted = "NOT_PERMITTED",
    VerificationNotFound = "VERIFICATION_NOT_FOUND",
    MessageNotFound = "MESSAGE_NOT_FOUND",
    VendorNotFound = "VENDOR_NOT_FOUND",
    ContactRowNotFound = "CONTACT_ROW_NOT_FOUND",
    ContactColumnNotFound = "CONTACT_COLUMN_NOT_FOUND",
    TenantNotFound = "TENANT_NOT_FOUND",
    ApiKeyNotFound = "API_KEY_NOT_FOUND",
    VerificationNotPending = "VERIFICATION_NOT_PENDING",
    MessageNotQueued = "MESSAGE_NOT_QUEUED",
    NotSent = "NOT_SENT",
    FeedbackContradicts = "FEEDBACK_CONTRADICTS",
    Configured = "CONFIGURED",
    IdempotencyInFlight = "IDEMPOTENCY_IN_FLIGHT",
    IdempotencyMismatch = "IDEMPOTENCY_MISMATCH",
    CoolDown = "COOL_DOWN",
    RecipientLocked = "RECIPIENT_LOCKED",
    CountryDenied = "COUNTRY_DENIED",
    NumberTypeDenied = "NUMBER_TYPE_DENIED",
    NotAuthorized = "NOT_AUTHORIZED",
    RecipientLimit = "RECIPIENT_LIMIT",
    NumberBlockLimit = "NUMBER_BLOCK_LIMIT",
    PrefixLimit = "PREFIX_LIMIT",
    CountryLimit = "COUNTRY_LIMIT",
    ClientAddressLimit = "CLIENT_ADDRESS_LIMIT",
    ClientNetworkLimit = "CLIENT_NETWORK_LIMIT",
    DeviceLimit = "DEVICE_LIMIT",
    TenantLimit = "TENANT_LIMIT",
    TenantFailures = "TENANT_FAILURES",
    ConversionTooLow = "CONVERSION_TOO_LOW",
    NumbersInSequence = "NUMBERS_IN_SEQUENCE",
    BudgetSpent = "BUDGET_SPENT",
    BlockNotFound = "BLOCK_NOT_FOUND",
    NoRoute = "NO_ROUTE",
    NotOffered = "NOT_OFFERED",
    VendorRefused = "VENDOR_REFUSED",
    ContactTableFull = "CONTACT_TABLE_FULL",
    Contention = "CONTENTION",
    Overloaded = "OVERLOADED",
    StoreUnavailable = "STORE_UNAVAILABLE",
    ShuttingDown = "SHUTTING_DOWN",
    VendorUnavailable = "VENDOR_UNAVAILABLE",
    DeadlineExceeded = "DEADLINE_EXCEEDED",
    NotServed = "NOT_SERVED",
    Internal = "INTERNAL",
    AlreadyExists = "ALREADY_EXISTS",
    CursorTooOld = "CURSOR_TOO_OLD",
    EndpointNotFound = "ENDPOINT_NOT_FOUND",
    EventNotFound = "EVENT_NOT_FOUND",
    TooManyEndpoints = "TOO_MANY_ENDPOINTS",
    EndpointDisabled = "ENDPOINT_DISABLED",
    BackupTooSlow = "BACKUP_TOO_SLOW",
    RewriteUnderWay = "REWRITE_UNDER_WAY",
}

/// One field of a request that is out of its range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path in the request as the caller wrote it, such as `recipient.phone`.
    pub field: String,
    /// What is wrong and what would be right.
    pub description: String,
}

// === impl Error ===

impl Error {
    pub fn new(kind: Kind, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            kind,
            reason,
            message: message.into(),
            retry_after: None,
            violations: Vec::new(),
            details: Vec::new(),
            source: None,
        }
    }

    /// A request field out of its range. The description says what would be right.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::invalid_fields(vec![Violation { field: field.into(), description: description.into() }])
    }

    /// Several fields out of their range, told at once. `violations` is not empty.
    pub fn invalid_fields(violations: Vec<Violation>) -> Self {
        let message =
            violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect::<Vec<_>>().join("; ");
        Self { violations, ..Self::new(Kind::Invalid, Reason::InvalidField, message) }
    }

    /// A fault of ours. The caller learns nothing but that; `source` goes to the log.
    pub fn internal(source: impl Into<Source>) -> Self {
        Self::new(Kind::Internal, Reason::Internal, "internal error").with_source(source)
    }

    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// A fact for programs, beside the reason.
    pub fn with_detail(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// Attaches the cause, for logs only.
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn reason(&self) -> Reason {
        self.reason
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    /// How long to wait before the same request can succeed, when waiting helps.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    pub fn details(&self) -> &[(&'static str, String)] {
        &self.details
    }

    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}: {}", self.kind, self.reason, self.message)?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
