//! Which rpc answers which method and path: one row a call, and a row is all that a new rpc needs. A test finds an rpc
//! without one.
//!
//! What stands in braces in a path is a field of the request, as a dotted path where it lies in another message. The
//! fields that no path names come from the body as a JSON object, or from the query for `GET` and `DELETE`.

/// A call over HTTP.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub verb: Verb,
    pub path: &'static str,
    /// `package.Service/Method`, without the `verigate.` in front.
    pub rpc: &'static str,
    /// What it is called in the description, where that is not the name of the rpc, because another row has that.
    pub name: Option<&'static str>,
    /// A body that shows what it is for.
    pub example: Option<&'static str>,
}

/// What is asked of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// In the order in which people read about them.
pub const ROUTES: &[Route] = &[
    post("/v1/verifications", "verification.v1.VerificationService/StartVerification")
        .example(r#"{"recipient": {"phone": "+60123456789"}, "scope": "login", "locale": "en"}"#),
    post("/v1/verifications/{id}/check", "verification.v1.VerificationService/CheckVerification")
        .example(r#"{"code": "012345"}"#),
    post("/v1/checks", "verification.v1.VerificationService/CheckVerification")
        .named("CheckVerificationByRecipient")
        .example(
            r#"{"scoped_recipient": {"recipient": {"phone": "+60123456789"}, "scope": "login"}, "code": "012345"}"#,
        ),
    post("/v1/verifications/{id}/resend", "verification.v1.VerificationService/ResendVerification")
        .example(r#"{"channel": "CHANNEL_VOICE"}"#),
    post("/v1/verifications/{id}/cancel", "verification.v1.VerificationService/CancelVerification"),
    get("/v1/verifications/{id}", "verification.v1.VerificationService/GetVerification"),
    get("/v1/verifications", "verification.v1.VerificationService/ListVerifications"),
    get("/v1/verifications/{id}/watch", "verification.v1.VerificationService/WatchVerification"),
    post("/v1/messages", "messaging.v1.MessagingService/SendMessage")
        .example(r#"{"recipient": {"phone": "+60123456789"}, "text": "Your table is ready."}"#),
    post("/v1/messages/batch", "messaging.v1.MessagingService/SendMessages").example(
        r#"{"recipients": [{"phone": "+60123456789"}, {"email": "ann@example.com"}], "text": "We open at nine."}"#,
    ),
    post("/v1/messages/preview", "messaging.v1.MessagingService/PreviewMessage")
        .example(r#"{"recipient": {"phone": "+60123456789"}, "text": "Your table is ready."}"#),
    post("/v1/messages/{id}/cancel", "messaging.v1.MessagingService/CancelMessage"),
    get("/v1/messages/{id}", "messaging.v1.MessagingService/GetMessage"),
    get("/v1/messages", "messaging.v1.MessagingService/ListMessages"),
    get("/v1/messages/{id}/watch", "messaging.v1.MessagingService/WatchMessage"),
    get("/v1/contacts/table", "contacts.v1.ContactsService/GetTable"),
    post("/v1/contacts/columns", "contacts.v1.ContactsService/AddColumn")
        .example(r#"{"name": "plan", "type": "COLUMN_TYPE_SELECT", "options": ["free", "paid"]}"#),
    patch("/v1/contacts/columns/{column_id}", "contacts.v1.ContactsService/UpdateColumn")
        .example(r#"{"name": "tier", "add_options": ["trial"], "rename_options": {"paid": "full"}}"#),
    delete("/v1/contacts/columns/{column_id}", "contacts.v1.ContactsService/DeleteColumn"),
    post("/v1/contacts/rows", "contacts.v1.ContactsService/CreateRow")
        .example(r#"{"columns": {"phone_number": "+60123456789", "first_name": "Ann"}}"#),
    get("/v1/contacts/rows/{id}", "contacts.v1.ContactsService/GetRow"),
    patch("/v1/contacts/rows/{id}", "contacts.v1.ContactsService/UpdateRow")
        .example(r#"{"columns": {"last_name": "Lee", "email": null}}"#),
    delete("/v1/contacts/rows/{id}", "contacts.v1.ContactsService/DeleteRow"),
    post("/v1/contacts/rows/query", "contacts.v1.ContactsService/QueryRows")
        .example(r#"{"filters": [{"column_id": "first_name", "operator": "FILTER_OPERATOR_EQUALS", "value": "Ann"}]}"#),
    get("/v1/events/watch", "event.v1.EventService/WatchEvents"),
    get("/v1/admin/vendors", "admin.v1.AdminService/ListVendors"),
    get("/v1/admin/vendors/{name}/balance", "admin.v1.AdminService/GetVendorBalance"),
    get("/v1/admin/blocks", "admin.v1.AdminService/ListBlocks"),
    post("/v1/admin/blocks/end", "admin.v1.AdminService/Unblock").example(r#"{"tenant": "acme", "area": "+6012345"}"#),
    get("/v1/admin/conversions", "admin.v1.AdminService/ListConversions"),
    post("/v1/admin/feedback", "admin.v1.AdminService/SubmitFeedback").example(
        r#"{"verification_id": "01a201eb-6366-80f1-a1f7-20ad39c323d0", "outcome": "FEEDBACK_OUTCOME_RECEIVED"}"#,
    ),
    post("/v1/admin/tenants", "admin.v1.AdminService/CreateTenant")
        .example(r#"{"name": "globex", "brand": "Globex", "default_country": "MY"}"#),
    get("/v1/admin/tenants", "admin.v1.AdminService/ListTenants"),
    get("/v1/admin/tenants/{name}", "admin.v1.AdminService/GetTenant"),
    patch("/v1/admin/tenants/{name}", "admin.v1.AdminService/UpdateTenant").example(r#"{"disabled": true}"#),
    post("/v1/admin/tenants/{tenant}/keys", "admin.v1.AdminService/CreateApiKey")
        .example(r#"{"scopes": ["SCOPE_VERIFY"], "expire_time": "2027-01-31T00:00:00Z"}"#),
    get("/v1/admin/tenants/{tenant}/keys", "admin.v1.AdminService/ListApiKeys"),
    post("/v1/admin/keys/{key_id}/rotate", "admin.v1.AdminService/RotateApiKey").example(r#"{"overlap": "604800s"}"#),
    delete("/v1/admin/keys/{key_id}", "admin.v1.AdminService/RevokeApiKey"),
    get("/v1/admin/recipients/export", "admin.v1.AdminService/ExportRecipient"),
    post("/v1/admin/recipients/erase", "admin.v1.AdminService/EraseRecipient")
        .example(r#"{"recipient": {"phone": "+60123456789"}, "tenant": "acme"}"#),
    get("/v1/admin/store/backup", "admin.v1.AdminService/BackupStore"),
    post("/v1/admin/store/rewrite", "admin.v1.AdminService/RewriteStore"),
    post("/v1/admin/tenants/{tenant}/endpoints", "admin.v1.AdminService/CreateEventEndpoint")
        .example(r#"{"url": "https://acme.example/events", "types": ["verification.approved", "message.*"]}"#),
    get("/v1/admin/tenants/{tenant}/endpoints", "admin.v1.AdminService/ListEventEndpoints"),
    patch("/v1/admin/tenants/{tenant}/endpoints/{endpoint_id}", "admin.v1.AdminService/UpdateEventEndpoint")
        .example(r#"{"rotate_secret": true, "overlap": "86400s"}"#),
    delete("/v1/admin/tenants/{tenant}/endpoints/{endpoint_id}", "admin.v1.AdminService/DeleteEventEndpoint"),
    post("/v1/admin/tenants/{tenant}/endpoints/{endpoint_id}/replay", "admin.v1.AdminService/ReplayEvents")
        .example(r#"{"from_time": "2026-11-28T00:00:00Z"}"#),
    get("/v1/admin/tenants/{tenant}/deliveries", "admin.v1.AdminService/ListEventDeliveries"),
];

pub const fn get(path: &'static str, rpc: &'static str) -> Route {
    Route::new(Verb::Get, path, rpc)
}

pub const fn post(path: &'static str, rpc: &'static str) -> Route {
    Route::new(Verb::Post, path, rpc)
}

pub const fn put(path: &'static str, rpc: &'static str) -> Route {
    Route::new(Verb::Put, path, rpc)
}

pub const fn patch(path: &'static str, rpc: &'static str) -> Route {
    Route::new(Verb::Patch, path, rpc)
}

pub const fn delete(path: &'static str, rpc: &'static str) -> Route {
    Route::new(Verb::Delete, path, rpc)
}

// === impl Route ===

impl Route {
    pub const fn new(verb: Verb, path: &'static str, rpc: &'static str) -> Self {
        Self { verb, path, rpc, name: None, example: None }
    }

    pub const fn named(self, name: &'static str) -> Self {
        Self { name: Some(name), ..self }
    }

    pub const fn example(self, json: &'static str) -> Self {
        Self { example: Some(json), ..self }
    }
}

// === impl Verb ===

impl Verb {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether the fields that no path names come from the body.
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}
