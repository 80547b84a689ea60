//! Holds the gRPC contract to its style, as clients see it: through the descriptor set that reflection serves.

use std::collections::BTreeSet;

use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, MethodDescriptor,
};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ListServiceResponse, ServerReflectionRequest, ServerReflectionResponse};

use verigate::error::Reason;
use verigate::proto::FILE_DESCRIPTOR_SET;
use verigate::proto::admin::v1::{
    CreateApiKeyRequest, CreateApiKeyResponse, RotateApiKeyResponse, admin_service_server,
};
use verigate::proto::contacts::v1::{CreateRowRequest, Row, RowFilter, UpdateRowRequest, contacts_service_server};
use verigate::proto::event::v1::event_service_server;
use verigate::proto::messaging::v1::messaging_service_server;
use verigate::proto::messaging::v1::recipient::Address;
use verigate::proto::messaging::v1::{
    Message, PreviewMessageResponse, Recipient, SendMessageRequest, Template, send_message_request,
};
use verigate::proto::verification::v1::{
    CheckVerificationRequest, ListVerificationsRequest, ScopedRecipient, StartVerificationRequest,
    StartVerificationResponse, Verification, check_verification_request, verification_service_server,
};
use verigate::vendor::{Channel, Rejection};

const SERVICES: [&str; 5] = [
    admin_service_server::SERVICE_NAME,
    contacts_service_server::SERVICE_NAME,
    event_service_server::SERVICE_NAME,
    messaging_service_server::SERVICE_NAME,
    verification_service_server::SERVICE_NAME,
];

/// Lists that come whole, for they are no longer than a part of the configuration.
const WHOLE_LISTS: [&str; 2] =
    ["verigate.admin.v1.AdminService.ListVendors", "verigate.admin.v1.AdminService.ListEventEndpoints"];

/// What the names of methods begin with whose answers go on.
const STREAMS: [&str; 4] = ["Watch", "Export", "Backup", "Rewrite"];

const GRPC_ERRORS: [&str; 12] = [
    "ABORTED",
    "ALREADY_EXISTS",
    "DEADLINE_EXCEEDED",
    "FAILED_PRECONDITION",
    "INTERNAL",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "UNAUTHENTICATED",
    "UNAVAILABLE",
    "UNIMPLEMENTED",
];

// === reading the contract ===

fn pool() -> DescriptorPool {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap()
}

fn own_files() -> Vec<FileDescriptor> {
    pool().files().filter(|file| file.package_name().starts_with("verigate.")).collect()
}

fn messages() -> Vec<MessageDescriptor> {
    own_files()
        .iter()
        .flat_map(|file| file.messages().flat_map(|message| with_children(&message)).collect::<Vec<_>>())
        .collect()
}

fn with_children(message: &MessageDescriptor) -> Vec<MessageDescriptor> {
    let children = message.child_messages().filter(|child| !child.is_map_entry());
    std::iter::once(message.clone()).chain(children.flat_map(|child| with_children(&child))).collect()
}

fn fields() -> Vec<FieldDescriptor> {
    messages().iter().flat_map(|message| message.fields().collect::<Vec<_>>()).collect()
}

fn enums() -> Vec<EnumDescriptor> {
    let nested = messages().iter().flat_map(|message| message.child_enums().collect::<Vec<_>>()).collect::<Vec<_>>();
    own_files().iter().flat_map(|file| file.enums().collect::<Vec<_>>()).chain(nested).collect()
}

fn methods() -> Vec<MethodDescriptor> {
    own_files()
        .iter()
        .flat_map(|file| file.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect::<Vec<_>>())
        .collect()
}

/// The comment before the thing at `path` of `file`; empty when there is none.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let source = file.file_descriptor_proto().source_code_info.as_ref().unwrap();
    let location = source.location.iter().find(|location| location.path == path).unwrap();
    location.leading_comments().trim().to_owned()
}

/// The message type of a field, such as `google.protobuf.Timestamp`; empty for other kinds.
fn message_type(field: &FieldDescriptor) -> String {
    field.kind().as_message().map(|message| message.full_name().to_owned()).unwrap_or_default()
}

fn enum_names(full_name: &str) -> BTreeSet<String> {
    let found = pool().get_enum_by_name(full_name).unwrap();
    let prefix = format!("{}_", upper_snake(found.name()));
    let names = found.values().filter(|value| value.number() != 0);
    names.map(|value| value.name().strip_prefix(&prefix).unwrap().to_owned()).collect()
}

fn upper_snake(camel: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in camel.char_indices() {
        if letter.is_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_uppercase());
    }
    snake
}

// === the style ===

#[test]
fn each_package_is_its_directory() {
    let packages: BTreeSet<_> = own_files().iter().map(|file| file.package_name().to_owned()).collect();
    assert_eq!(
        packages.iter().map(String::as_str).collect::<Vec<_>>(),
        [
            "verigate.admin.v1",
            "verigate.contacts.v1",
            "verigate.error.v1",
            "verigate.event.v1",
            "verigate.messaging.v1",
            "verigate.verification.v1"
        ]
    );
    for file in own_files() {
        let (directory, _) = file.name().rsplit_once('/').unwrap();
        assert_eq!(directory.replace('/', "."), file.package_name(), "{}", file.name());
    }
}

#[test]
fn everything_has_a_comment() {
    let mut things = Vec::new();
    for file in own_files() {
        for service in file.services() {
            things.push((file.clone(), service.path().to_vec(), service.full_name().to_owned()));
        }
    }
    for method in methods() {
        things.push((method.parent_file(), method.path().to_vec(), method.full_name().to_owned()));
    }
    for message in messages() {
        let file = message.parent_file();
        things.push((file.clone(), message.path().to_vec(), message.full_name().to_owned()));
        for field in message.fields() {
            things.push((file.clone(), field.path().to_vec(), field.full_name().to_owned()));
        }
        for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            things.push((file.clone(), oneof.path().to_vec(), oneof.full_name().to_owned()));
        }
    }
    for one_enum in enums() {
        let file = one_enum.parent_file();
        things.push((file.clone(), one_enum.path().to_vec(), one_enum.full_name().to_owned()));
        for value in one_enum.values() {
            things.push((file.clone(), value.path().to_vec(), value.full_name().to_owned()));
        }
    }
    assert!(things.len() > 200, "found only {} things", things.len());
    let bare: Vec<_> = things.iter().filter(|(file, path, _)| comment(file, path).is_empty()).collect();
    assert!(bare.is_empty(), "without a comment: {:?}", bare.iter().map(|(.., name)| name).collect::<Vec<_>>());
    // Everything is served; a comment that says otherwise was left behind.
    let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let unserved = |text: String| words(text).contains("not served by this version");
    let behind: Vec<_> = things.iter().filter(|(file, path, _)| unserved(comment(file, path))).collect();
    assert!(behind.is_empty(), "said to be unserved: {:?}", behind.iter().map(|(.., name)| name).collect::<Vec<_>>());
}

#[test]
fn enums_begin_unspecified_and_prefix_their_values() {
    for one_enum in enums() {
        let prefix = upper_snake(one_enum.name());
        assert_eq!(one_enum.get_value(0).unwrap().name(), format!("{prefix}_UNSPECIFIED"));
        for value in one_enum.values() {
            assert!(value.name().starts_with(&format!("{prefix}_")), "{}", value.full_name());
        }
    }
}

#[test]
fn each_method_has_a_request_and_a_response_of_its_own() {
    assert_eq!(methods().len(), 48);
    for method in methods() {
        let package = method.parent_file().package_name().to_owned();
        assert_eq!(method.input().full_name(), format!("{package}.{}Request", method.name()));
        assert_eq!(method.output().full_name(), format!("{package}.{}Response", method.name()));
        assert!(!method.is_client_streaming(), "{}", method.full_name());
        let goes_on = STREAMS.iter().any(|verb| method.name().starts_with(verb));
        assert_eq!(method.is_server_streaming(), goes_on, "{}", method.full_name());
    }
}

#[test]
fn lists_come_in_pages() {
    let is_list = |method: &MethodDescriptor| ["List", "Query"].iter().any(|verb| method.name().starts_with(verb));
    let lists = methods().into_iter().filter(is_list);
    let (whole, lists): (Vec<_>, Vec<_>) = lists.partition(|list| WHOLE_LISTS.contains(&list.full_name()));
    assert_eq!((whole.len(), lists.len()), (WHOLE_LISTS.len(), 8));
    for list in lists {
        let asked = |name| list.input().get_field_by_name(name).map(|field| field.kind());
        assert_eq!(asked("page_size"), Some(Kind::Int32), "{}", list.full_name());
        assert_eq!(asked("page_token"), Some(Kind::String), "{}", list.full_name());
        let answer = list.output();
        assert_eq!(answer.get_field_by_name("next_page_token").map(|field| field.kind()), Some(Kind::String));
        assert_eq!(answer.fields().filter(|field| field.is_list()).count(), 1, "{}", list.full_name());
    }
}

#[test]
fn time_and_numbers_have_the_types_that_every_language_knows() {
    for file in own_files() {
        for import in file.dependencies() {
            let known = ["duration", "struct", "timestamp"].map(|name| format!("google/protobuf/{name}.proto"));
            let name = import.name();
            assert!(
                name.starts_with("verigate/") || known.iter().any(|known| known == name),
                "{} imports {name}",
                file.name()
            );
        }
    }
    for field in fields() {
        let (name, full_name) = (field.name(), field.full_name());
        if name.ends_with("_time") || name.ends_with("_at") {
            assert_eq!(message_type(&field), "google.protobuf.Timestamp", "{full_name}");
        }
        for unit in ["_seconds", "_minutes", "_ms", "_millis", "_ttl"] {
            assert!(!name.ends_with(unit), "{full_name} is a google.protobuf.Duration or Timestamp");
        }
        let numeric =
            !matches!(field.kind(), Kind::String | Kind::Bytes | Kind::Bool | Kind::Message(_) | Kind::Enum(_));
        assert!(!numeric || field.kind() == Kind::Int32, "{full_name}: {:?}", field.kind());
    }
}

#[test]
fn field_numbers_are_used_or_reserved() {
    for message in messages() {
        let reserved: Vec<_> = message.reserved_ranges().collect();
        let highest = message.fields().map(|field| field.number()).max().unwrap_or(0);
        for number in 1..=highest {
            let spoken_for =
                message.get_field(number).is_some() || reserved.iter().any(|range| range.contains(&number));
            assert!(spoken_for, "{} skips field number {number}", message.full_name());
        }
    }
}

// === twins in the code ===

#[test]
fn each_reason_has_its_twin_on_the_wire() {
    let ours: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str().to_owned()).collect();
    assert_eq!(enum_names("verigate.error.v1.ErrorReason"), ours);
}

#[test]
fn each_reason_says_which_grpc_code_it_comes_with() {
    let reasons = pool().get_enum_by_name("verigate.error.v1.ErrorReason").unwrap();
    for value in reasons.values().filter(|value| value.number() != 0) {
        let comment = comment(&reasons.parent_file(), value.path());
        let (code, _) = comment.split_once(':').unwrap();
        assert!(GRPC_ERRORS.contains(&code), "{}: {comment}", value.name());
    }
}

#[test]
fn each_channel_has_its_twin_on_the_wire() {
    let ours: BTreeSet<_> = Channel::ALL.iter().map(|channel| channel.as_str().to_uppercase()).collect();
    assert_eq!(enum_names("verigate.messaging.v1.Channel"), ours);
}

#[test]
fn each_rejection_of_a_vendor_can_be_told_on_the_wire() {
    let known = enum_names("verigate.messaging.v1.FailureReason");
    for rejection in [
        Rejection::InvalidRecipient,
        Rejection::InvalidContent,
        Rejection::Unauthorized,
        Rejection::InsufficientCredit,
        Rejection::Blocked,
        Rejection::Occupied,
    ] {
        assert!(known.contains(rejection.as_str()), "{rejection:?}");
    }
}

// === secrets ===

#[test]
fn no_debug_output_shows_a_code_a_text_or_a_recipient() {
    let canary = || "canary-5309".to_owned();
    let phone = || Some(Recipient { address: Some(Address::Phone(canary())) });
    let email = || Some(Recipient { address: Some(Address::Email(canary())) });
    let variables = || [("name".to_owned(), canary())].into();
    let scoped = ScopedRecipient { scope: "login".to_owned(), recipient: phone() };
    let template = Template { variables: variables(), ..Template::default() };
    let text = send_message_request::Content::Text(canary());
    let cell = || prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(canary())) };
    let columns = || [("c".to_owned(), cell())].into();
    let outputs = [
        format!("{:?}", Row { columns: columns(), ..Row::default() }),
        format!("{:?}", CreateRowRequest { columns: columns(), ..CreateRowRequest::default() }),
        format!("{:?}", UpdateRowRequest { columns: columns(), ..UpdateRowRequest::default() }),
        format!("{:?}", RowFilter { value: Some(cell()), ..RowFilter::default() }),
        format!("{:?}", CreateApiKeyRequest { secret_hash: canary(), ..Default::default() }),
        format!("{:?}", CreateApiKeyResponse { secret: canary(), ..Default::default() }),
        format!("{:?}", RotateApiKeyResponse { secret: canary(), ..Default::default() }),
        format!("{:?}", phone()),
        format!("{:?}", email()),
        format!("{:?}", Address::Phone(canary())),
        format!("{:?}", Verification { recipient: phone(), ..Verification::default() }),
        format!("{:?}", StartVerificationRequest { custom_code: canary(), recipient: email(), ..Default::default() }),
        format!("{:?}", StartVerificationRequest { variables: variables(), ..Default::default() }),
        format!("{:?}", StartVerificationResponse { code: canary(), ..Default::default() }),
        format!("{:?}", CheckVerificationRequest { code: canary(), ..Default::default() }),
        format!(
            "{:?}",
            CheckVerificationRequest {
                target: Some(check_verification_request::Target::ScopedRecipient(scoped)),
                ..Default::default()
            }
        ),
        format!("{:?}", ListVerificationsRequest { recipient: phone(), ..Default::default() }),
        format!("{:?}", Message { text: canary(), recipient: phone(), ..Message::default() }),
        format!("{text:?}"),
        format!("{:?}", SendMessageRequest { content: Some(text), recipient: phone(), ..Default::default() }),
        format!("{template:?}"),
        format!("{:?}", PreviewMessageResponse { text: canary(), ..Default::default() }),
    ];
    for output in outputs {
        assert!(!output.contains("canary"), "{output}");
    }
}

#[test]
fn debug_output_still_shows_what_is_no_secret() {
    let request = StartVerificationRequest { scope: "login".to_owned(), ..Default::default() };
    assert!(format!("{request:?}").contains("login"));
}

// === reflection ===

#[test]
fn reflection_carries_our_comments_and_no_others() {
    let set = pool();
    assert_eq!(set.services().map(|service| service.full_name().to_owned()).collect::<BTreeSet<_>>(), services());
    assert!(set.get_file_by_name("google/protobuf/timestamp.proto").is_some());
    for file in set.files() {
        let has_source = file.file_descriptor_proto().source_code_info.is_some();
        assert_eq!(has_source, file.package_name().starts_with("verigate."), "{}", file.name());
    }
}

#[tokio::test]
async fn reflection_lists_every_service() {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .build_v1()
        .unwrap();
    let incoming = tonic::transport::server::TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let server = tonic::transport::Server::builder().add_service(reflection).serve_with_incoming(incoming);
    let ask = async {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
        let mut client = ServerReflectionClient::new(endpoint.connect().await.unwrap());
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
        answers.message().await.unwrap().unwrap()
    };
    let answer = tokio::select! {
        ended = server => panic!("the server ended: {ended:?}"),
        answer = ask => answer,
    };
    let ServerReflectionResponse {
        message_response: Some(MessageResponse::ListServicesResponse(ListServiceResponse { service })),
        ..
    } = answer
    else {
        panic!("not a list of services: {answer:?}");
    };
    let listed: BTreeSet<_> = service.into_iter().map(|service| service.name).collect();
    assert!(listed.is_superset(&services()), "{listed:?}");
}

fn services() -> BTreeSet<String> {
    SERVICES.iter().map(ToString::to_string).collect()
}
