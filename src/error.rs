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

/// The machine-readable reason. Each has a twin in `verigate.error.v1.ErrorReason`, checked by test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    InvalidField,
    CredentialsMissing,
    CredentialsInvalid,
    CredentialsExpired,
    NotPermitted,
    VerificationNotFound,
    MessageNotFound,
    VendorNotFound,
    ContactRowNotFound,
    ContactColumnNotFound,
    TenantNotFound,
    ApiKeyNotFound,
    VerificationNotPending,
    MessageNotQueued,
    NotSent,
    FeedbackContradicts,
    Configured,
    IdempotencyInFlight,
    IdempotencyMismatch,
    CoolDown,
    RecipientLocked,
    CountryDenied,
    NumberTypeDenied,
    NotAuthorized,
    RecipientLimit,
    NumberBlockLimit,
    PrefixLimit,
    CountryLimit,
    ClientAddressLimit,
    ClientNetworkLimit,
    DeviceLimit,
    TenantLimit,
    TenantFailures,
    ConversionTooLow,
    NumbersInSequence,
    BudgetSpent,
    BlockNotFound,
    NoRoute,
    NotOffered,
    VendorRefused,
    ContactTableFull,
    Contention,
    Overloaded,
    StoreUnavailable,
    ShuttingDown,
    VendorUnavailable,
    DeadlineExceeded,
    NotServed,
    Internal,
    AlreadyExists,
    CursorTooOld,
    EndpointNotFound,
    EventNotFound,
    TooManyEndpoints,
    EndpointDisabled,
    BackupTooSlow,
    RewriteUnderWay,
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

// === impl Reason ===

impl Reason {
    pub const ALL: [Self; 57] = [
        Self::InvalidField,
        Self::CredentialsMissing,
        Self::CredentialsInvalid,
        Self::CredentialsExpired,
        Self::NotPermitted,
        Self::VerificationNotFound,
        Self::MessageNotFound,
        Self::VendorNotFound,
        Self::ContactRowNotFound,
        Self::ContactColumnNotFound,
        Self::TenantNotFound,
        Self::ApiKeyNotFound,
        Self::VerificationNotPending,
        Self::MessageNotQueued,
        Self::NotSent,
        Self::FeedbackContradicts,
        Self::Configured,
        Self::IdempotencyInFlight,
        Self::IdempotencyMismatch,
        Self::CoolDown,
        Self::RecipientLocked,
        Self::CountryDenied,
        Self::NumberTypeDenied,
        Self::NotAuthorized,
        Self::RecipientLimit,
        Self::NumberBlockLimit,
        Self::PrefixLimit,
        Self::CountryLimit,
        Self::ClientAddressLimit,
        Self::ClientNetworkLimit,
        Self::DeviceLimit,
        Self::TenantLimit,
        Self::TenantFailures,
        Self::ConversionTooLow,
        Self::NumbersInSequence,
        Self::BudgetSpent,
        Self::BlockNotFound,
        Self::NoRoute,
        Self::NotOffered,
        Self::VendorRefused,
        Self::ContactTableFull,
        Self::Contention,
        Self::Overloaded,
        Self::StoreUnavailable,
        Self::ShuttingDown,
        Self::VendorUnavailable,
        Self::DeadlineExceeded,
        Self::NotServed,
        Self::Internal,
        Self::AlreadyExists,
        Self::CursorTooOld,
        Self::EndpointNotFound,
        Self::EventNotFound,
        Self::TooManyEndpoints,
        Self::EndpointDisabled,
        Self::BackupTooSlow,
        Self::RewriteUnderWay,
    ];

    /// The name on every wire, such as `COOL_DOWN`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidField => "INVALID_FIELD",
            Self::CredentialsMissing => "CREDENTIALS_MISSING",
            Self::CredentialsInvalid => "CREDENTIALS_INVALID",
            Self::CredentialsExpired => "CREDENTIALS_EXPIRED",
            Self::NotPermitted => "NOT_PERMITTED",
            Self::VerificationNotFound => "VERIFICATION_NOT_FOUND",
            Self::MessageNotFound => "MESSAGE_NOT_FOUND",
            Self::VendorNotFound => "VENDOR_NOT_FOUND",
            Self::ContactRowNotFound => "CONTACT_ROW_NOT_FOUND",
            Self::ContactColumnNotFound => "CONTACT_COLUMN_NOT_FOUND",
            Self::TenantNotFound => "TENANT_NOT_FOUND",
            Self::ApiKeyNotFound => "API_KEY_NOT_FOUND",
            Self::VerificationNotPending => "VERIFICATION_NOT_PENDING",
            Self::MessageNotQueued => "MESSAGE_NOT_QUEUED",
            Self::NotSent => "NOT_SENT",
            Self::FeedbackContradicts => "FEEDBACK_CONTRADICTS",
            Self::Configured => "CONFIGURED",
            Self::IdempotencyInFlight => "IDEMPOTENCY_IN_FLIGHT",
            Self::IdempotencyMismatch => "IDEMPOTENCY_MISMATCH",
            Self::CoolDown => "COOL_DOWN",
            Self::RecipientLocked => "RECIPIENT_LOCKED",
            Self::CountryDenied => "COUNTRY_DENIED",
            Self::NumberTypeDenied => "NUMBER_TYPE_DENIED",
            Self::NotAuthorized => "NOT_AUTHORIZED",
            Self::RecipientLimit => "RECIPIENT_LIMIT",
            Self::NumberBlockLimit => "NUMBER_BLOCK_LIMIT",
            Self::PrefixLimit => "PREFIX_LIMIT",
            Self::CountryLimit => "COUNTRY_LIMIT",
            Self::ClientAddressLimit => "CLIENT_ADDRESS_LIMIT",
            Self::ClientNetworkLimit => "CLIENT_NETWORK_LIMIT",
            Self::DeviceLimit => "DEVICE_LIMIT",
            Self::TenantLimit => "TENANT_LIMIT",
            Self::TenantFailures => "TENANT_FAILURES",
            Self::ConversionTooLow => "CONVERSION_TOO_LOW",
            Self::NumbersInSequence => "NUMBERS_IN_SEQUENCE",
            Self::BudgetSpent => "BUDGET_SPENT",
            Self::BlockNotFound => "BLOCK_NOT_FOUND",
            Self::NoRoute => "NO_ROUTE",
            Self::NotOffered => "NOT_OFFERED",
            Self::VendorRefused => "VENDOR_REFUSED",
            Self::ContactTableFull => "CONTACT_TABLE_FULL",
            Self::Contention => "CONTENTION",
            Self::Overloaded => "OVERLOADED",
            Self::StoreUnavailable => "STORE_UNAVAILABLE",
            Self::ShuttingDown => "SHUTTING_DOWN",
            Self::VendorUnavailable => "VENDOR_UNAVAILABLE",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotServed => "NOT_SERVED",
            Self::Internal => "INTERNAL",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::CursorTooOld => "CURSOR_TOO_OLD",
            Self::EndpointNotFound => "ENDPOINT_NOT_FOUND",
            Self::EventNotFound => "EVENT_NOT_FOUND",
            Self::TooManyEndpoints => "TOO_MANY_ENDPOINTS",
            Self::EndpointDisabled => "ENDPOINT_DISABLED",
            Self::BackupTooSlow => "BACKUP_TOO_SLOW",
            Self::RewriteUnderWay => "REWRITE_UNDER_WAY",
        }
    }
}
