// A start and a check from TypeScript, with stubs that know the types: README.md says how they are made. For errors,
// retries and the rest see gateway.js and verify.js; all of it holds here, too.

import { randomUUID } from "node:crypto";
import * as grpc from "@grpc/grpc-js";
import {
  CheckOutcome,
  CheckVerificationRequest,
  StartVerificationRequest,
  VerificationServiceClient,
} from "./gen/verigate/verification/v1/verification_service";

const RETRIES = {
  methodConfig: [
    {
      name: ["StartVerification", "CheckVerification"].map((method) => ({
        service: "verigate.verification.v1.VerificationService",
        method,
      })),
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

export class Verifier {
  readonly #client: VerificationServiceClient;
  readonly #credentials = new grpc.Metadata({ waitForReady: true });

  /** `address`: HOST:PORT or unix:/path; `key`: an API key, ID.SECRET. */
  constructor(address: string, key: string) {
    this.#client = new VerificationServiceClient(address, grpc.credentials.createInsecure(), {
      "grpc.service_config": JSON.stringify(RETRIES),
    });
    this.#credentials.set("authorization", `Bearer ${key}`);
  }

  /** Sends a code to a phone; gives the id of the verification. */
  start(phone: string): Promise<string> {
    const request = StartVerificationRequest.fromPartial({ recipient: { phone }, idempotencyKey: randomUUID() });
    return new Promise((resolve, reject) => {
      this.#client.startVerification(request, this.#credentials, within(15), (error, answer) =>
        error ? reject(error) : resolve(answer.verification?.id ?? ""),
      );
    });
  }

  /** Whether this is the code. */
  check(id: string, code: string): Promise<boolean> {
    const request = CheckVerificationRequest.fromPartial({ id, code, idempotencyKey: randomUUID() });
    return new Promise((resolve, reject) => {
      this.#client.checkVerification(request, this.#credentials, within(15), (error, answer) =>
        error ? reject(error) : resolve(answer.outcome === CheckOutcome.CHECK_OUTCOME_APPROVED),
      );
    });
  }
}

function within(seconds: number): Partial<grpc.CallOptions> {
  return { deadline: Date.now() + seconds * 1000 };
}
