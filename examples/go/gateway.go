package main

// What a Go service needs to call Verigate: a connection, credentials, typed errors. It knows nothing of what is
// verified; main.go shows it at work and says how to make the stubs.

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	verificationv1 "verigate.example/verify/gen/verigate/verification/v1"
)

// UNAVAILABLE is the one status after which the same call may succeed by itself a moment later. Named are the calls that
// do no harm when they are made twice: they only read, or end where they ended, or carry an idempotency key (so give one
// to every start and check). ResendVerification is not among them: it sends again. While nobody answers at all, a call
// waits, up to its deadline: a gateway may be starting anew.
const serviceConfig = `{
  "methodConfig": [{
    "name": [
      {"service": "verigate.verification.v1.VerificationService", "method": "StartVerification"},
      {"service": "verigate.verification.v1.VerificationService", "method": "CheckVerification"},
      {"service": "verigate.verification.v1.VerificationService", "method": "CancelVerification"},
      {"service": "verigate.verification.v1.VerificationService", "method": "GetVerification"},
      {"service": "verigate.verification.v1.VerificationService", "method": "ListVerifications"},
      {"service": "verigate.verification.v1.VerificationService", "method": "WatchVerification"}
    ],
    "waitForReady": true,
    "retryPolicy": {
      "maxAttempts": 4,
      "initialBackoff": "0.1s",
      "maxBackoff": "1s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
}`

// Gateway is one connection, to be kept and shared.
type Gateway struct {
	verificationv1.VerificationServiceClient
	connection *grpc.ClientConn
}

// apiKey goes with every call as its credentials.
type apiKey string

// Refusal is why a call failed. Decide by Code and Reason; Message is for people and may change.
type Refusal struct {
	Code    codes.Code
	Message string
	// A name from verigate.error.v1.ErrorReason without its prefix. Empty when the gateway did not answer at all.
	Reason string
	Domain string
	// How long to wait before the next try; 0 where waiting does not help.
	RetryAfter time.Duration
	// What is wrong with which field of the request.
	Fields map[string]string
	// Which limits were reached.
	Quotas []string
}

// Connect takes an address, HOST:PORT or unix:/path, and an API key, ID.SECRET. It does not wait for the gateway.
func Connect(address, key string) (*Gateway, error) {
	connection, err := grpc.NewClient(address,
		// In the clear, so for this machine. With TLS before the gateway: credentials.NewTLS.
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(apiKey(key)),
		grpc.WithDefaultServiceConfig(serviceConfig),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return &Gateway{verificationv1.NewVerificationServiceClient(connection), connection}, nil
}

// Close ends the connection and every call on it.
func (g *Gateway) Close() error { return g.connection.Close() }

// ReadError unpacks the details of a failed call.
func ReadError(err error) Refusal {
	answer := status.Convert(err)
	refusal := Refusal{Code: answer.Code(), Message: answer.Message()}
	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			refusal.Reason, refusal.Domain = detail.GetReason(), detail.GetDomain()
		case *errdetails.RetryInfo:
			refusal.RetryAfter = detail.GetRetryDelay().AsDuration()
		case *errdetails.BadRequest:
			refusal.Fields = make(map[string]string)
			for _, violation := range detail.GetFieldViolations() {
				refusal.Fields[violation.GetField()] = violation.GetDescription()
			}
		case *errdetails.QuotaFailure:
			for _, violation := range detail.GetViolations() {
				refusal.Quotas = append(refusal.Quotas, violation.GetSubject())
			}
		}
	}
	return refusal
}

// GetRequestMetadata gives the metadata of a call.
func (key apiKey) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(key)}, nil
}

// RequireTransportSecurity lets the key pass without TLS. Over a network, say true.
func (apiKey) RequireTransportSecurity() bool { return false }
