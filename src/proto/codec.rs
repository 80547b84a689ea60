//! How messages of our services are encoded: as protobuf, with buffers of the size that they have.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Protobuf over buffers that begin small. tonic's own begin with 8 KiB each way, several times what a request or an answer
/// of ours takes.
#[derive(Debug)]
pub struct SmallProst<T, U>(PhantomData<(T, U)>);

/// Bytes of a buffer at first. It grows for a message that is longer.
const BUFFER_BYTES: usize = 1024;

/// Bytes of a stream's messages that are gathered before they are handed on; tonic's own number.
const YIELD_BYTES: usize = 32 * 1024;

// === impl SmallProst ===

impl<T, U> Default for SmallProst<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallProst<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(settings())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(settings())
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
}
