"""What a Python service needs to call Verigate: a connection, credentials, typed errors.

It knows grpcio and the generated stubs, and nothing of what is verified. verify.py shows it at work and says how to make
the stubs.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

# Generated code imports by package names from its own root.
sys.path.insert(0, str(Path(__file__).parent / "gen"))

from verigate.verification.v1 import verification_service_pb2_grpc  # noqa: E402

SERVICE = "verigate.verification.v1.VerificationService"

# Calls that do no harm when they are made twice: they only read, or end where they ended, or carry an idempotency key
# (so give one to every start and check). ResendVerification is not among them: it sends again.
REPEATABLE = [
    "StartVerification",
    "CheckVerification",
    "CancelVerification",
    "GetVerification",
    "ListVerifications",
    "WatchVerification",
]

# UNAVAILABLE is the one status after which the same call may succeed by itself a moment later. While nobody answers at all,
# a call waits, up to its deadline: a gateway may be starting anew.
SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": SERVICE, "method": method} for method in REPEATABLE],
            "waitForReady": True,
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


class Gateway:
    """One connection, to be kept and shared between threads. Use it with `with`."""

    def __init__(self, address: str, key: str):
        """`address` is HOST:PORT or unix:/path, `key` an API key, ID.SECRET."""
        options = [("grpc.service_config", json.dumps(SERVICE_CONFIG))]
        if address.startswith("unix:"):
            # Else grpcio names the path as the host, which an HTTP/2 server may refuse.
            options.append(("grpc.default_authority", "localhost"))
        # In the clear, so for this machine. With TLS before the gateway: grpc.secure_channel.
        self._channel = grpc.insecure_channel(address, options=options)
        self.verifications = verification_service_pb2_grpc.VerificationServiceStub(self._channel)
        # To be given to each call as its metadata.
        self.credentials = [("authorization", f"Bearer {key}")]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._channel.close()


@dataclass
class Refusal:
    """Why a call failed. Decide by `code` and `reason`; `message` is for people and may change."""

    code: grpc.StatusCode
    message: str
    # A name from verigate.error.v1.ErrorReason without its prefix. Empty when the gateway did not answer at all.
    reason: str = ""
    domain: str = ""
    # Seconds to wait before the next try, where waiting helps.
    retry_after: float | None = None
    # What is wrong with which field of the request.
    fields: dict[str, str] = field(default_factory=dict)
    # Which limits were reached.
    quotas: list[str] = field(default_factory=list)


def read_error(error: grpc.RpcError) -> Refusal:
    """Unpacks the details of a failed call."""
    refusal = Refusal(error.code(), error.details())
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        # grpcio may contradict itself when an answer comes in the very moment in which it gives up waiting.
        status = None
    for packed in status.details if status else ():
        for kind in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.RetryInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.QuotaFailure,
        ):
            detail = kind()
            if packed.Unpack(detail):
                _add(refusal, detail)
    return refusal


def _add(refusal: Refusal, detail) -> None:
    match detail:
        case error_details_pb2.ErrorInfo():
            refusal.reason, refusal.domain = detail.reason, detail.domain
        case error_details_pb2.RetryInfo():
            refusal.retry_after = detail.retry_delay.ToTimedelta().total_seconds()
        case error_details_pb2.BadRequest():
            refusal.fields = {violation.field: violation.description for violation in detail.field_violations}
        case error_details_pb2.QuotaFailure():
            refusal.quotas = [violation.subject for violation in detail.violations]
