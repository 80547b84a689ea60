//! Calls of any rpc by its name in the contract, and requests that are built along it.

use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ReflectMessage};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};
use verigate::proto::FILE_DESCRIPTOR_SET;

/// Every rpc of ours.
pub(crate) fn methods() -> Vec<MethodDescriptor> {
    let contract = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let ours = contract.services().filter(|service| service.full_name().starts_with("verigate."));
    ours.flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// `/package.Service/Method`.
pub(crate) fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

pub(crate) fn request(method: &MethodDescriptor, json: &str) -> DynamicMessage {
    DynamicMessage::deserialize(method.input(), &mut serde_json::Deserializer::from_str(json)).unwrap()
}

/// The first answer, which is all there is unless the rpc streams.
pub(crate) async fn call(
    channel: &Channel,
    key: &str,
    method: &MethodDescriptor,
    message: &DynamicMessage,
) -> Result<Vec<u8>, Status> {
    assert_eq!(message.descriptor(), method.input());
    call_at(channel, Some(key), &path(method), message.encode_to_vec()).await
}

/// The same at any path.
pub(crate) async fn call_at(
    channel: &Channel,
    key: Option<&str>,
    path: &str,
    message: Vec<u8>,
) -> Result<Vec<u8>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(message);
    if let Some(key) = key {
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    }
    let answers = client.server_streaming(request, path.parse().unwrap(), Bytes).await?;
    Ok(answers.into_inner().message().await?.unwrap_or_default())
}

/// Messages as they are.
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
