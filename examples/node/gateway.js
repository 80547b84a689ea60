// What a Node service needs to call Verigate: a connection, credentials, typed errors.
//
// It reads the .proto files at run time, so nothing is generated, and knows nothing of what is verified. verify.js shows
// it at work.

"use strict";

const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");
// The details of gRPC errors are messages of these files.
const { getProtoPath } = require("google-proto-files");

const SERVICE = "verigate.verification.v1.VerificationService";

// Calls that do no harm when they are made twice: they only read, or end where they ended, or carry an idempotency key
// (so give one to every start and check). ResendVerification is not among them: it sends again.
const REPEATABLE = [
  "StartVerification",
  "CheckVerification",
  "CancelVerification",
  "GetVerification",
  "ListVerifications",
  "WatchVerification",
];

// UNAVAILABLE is the one status after which the same call may succeed by itself a moment later. While nobody answers at all,
// a call waits, up to its deadline: a gateway may be starting anew. That stands in the metadata of calls here.
const SERVICE_CONFIG = {
  methodConfig: [
    {
      name: REPEATABLE.map((method) => ({ service: SERVICE, method })),
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.1s",
        maxBackoff: "1s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
};

const definition = protoLoader.loadSync(
  [
    "verigate/verification/v1/verification_service.proto",
    "google/rpc/status.proto",
    "google/rpc/error_details.proto",
  ],
  {
    includeDirs: [path.join(__dirname, "../../proto"), path.join(getProtoPath(), "..")],
    enums: String,
    longs: String,
    defaults: true,
    oneofs: true,
  },
);
const { VerificationService } = grpc.loadPackageDefinition(definition).verigate.verification.v1;

/** A client of one connection, to be kept and shared. Its methods give promises; `watch` gives what is streamed. */
class Gateway {
  #client;
  #credentials = new grpc.Metadata({ waitForReady: true });

  /**
   * @param {string} address HOST:PORT or unix:/path
   * @param {string} key an API key, ID.SECRET
   */
  constructor(address, key) {
    // In the clear, so for this machine. With TLS before the gateway: grpc.credentials.createSsl().
    this.#client = new VerificationService(address, grpc.credentials.createInsecure(), {
      "grpc.service_config": JSON.stringify(SERVICE_CONFIG),
    });
    this.#credentials.set("authorization", `Bearer ${key}`);
  }

  /** Calls a unary method by its name in the contract; `seconds` is how long it may take. */
  call(method, request, seconds) {
    return new Promise((resolve, reject) => {
      this.#client[method](request, this.#credentials, { deadline: after(seconds) }, (error, answer) =>
        error ? reject(error) : resolve(answer),
      );
    });
  }

  /** Gives the answers of WatchVerification as they come; for use with `for await`. */
  watch(request, seconds) {
    return this.#client.WatchVerification(request, this.#credentials, { deadline: after(seconds) });
  }

  close() {
    this.#client.close();
  }
}

/**
 * Why a call failed, with the details of the error unpacked. Decide by `code` and `reason`; `message` is for people and
 * may change.
 *
 * - `code`: the name of the gRPC status
 * - `reason`: a name from verigate.error.v1.ErrorReason without its prefix; empty when the gateway did not answer at all
 * - `retryAfter`: seconds to wait before the next try, where waiting helps
 * - `fields`: what is wrong with which field of the request
 * - `quotas`: which limits were reached
 */
function readError(error) {
  const refusal = {
    code: grpc.status[error.code],
    message: error.details,
    reason: "",
    domain: "",
    retryAfter: undefined,
    fields: {},
    quotas: [],
  };
  const [packed] = error.metadata?.get("grpc-status-details-bin") ?? [];
  const details = packed ? definition["google.rpc.Status"].deserialize(packed).details : [];
  for (const { type_url, value } of details) {
    const name = type_url.split("/").pop();
    const detail = definition[name]?.deserialize(value);
    switch (name) {
      case "google.rpc.ErrorInfo":
        refusal.reason = detail.reason;
        refusal.domain = detail.domain;
        break;
      case "google.rpc.RetryInfo":
        refusal.retryAfter = Number(detail.retryDelay.seconds) + detail.retryDelay.nanos / 1e9;
        break;
      case "google.rpc.BadRequest":
        refusal.fields = Object.fromEntries(detail.fieldViolations.map((v) => [v.field, v.description]));
        break;
      case "google.rpc.QuotaFailure":
        refusal.quotas = detail.violations.map((violation) => violation.subject);
        break;
    }
  }
  return refusal;
}

function after(seconds) {
  return Date.now() + seconds * 1000;
}

module.exports = { Gateway, VerificationService, readError };
