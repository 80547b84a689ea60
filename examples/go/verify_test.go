package main

// Tests the example against a running gateway, whose addresses come from VERIGATE_ADDRESS and VERIGATE_ADMIN.
//
// One test needs an inbox that is slow to some. By hand:
//
//	VERIGATE__VENDORS__INBOX__OUTCOMES='[{pattern = "slow-*", outcome = "slow", delay = "25s"}]' verigate serve
//	go test -v

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	verificationv1 "verigate.example/verify/gen/verigate/verification/v1"
)

const pending = verificationv1.VerificationStatus_VERIFICATION_STATUS_PENDING

var admin = environment("VERIGATE_ADMIN", "http://127.0.0.1:9090")

// gateway connects to the gateway under test, with a key that it knows.
func gateway(t *testing.T) *Gateway {
	t.Helper()
	return connect(t, environment("VERIGATE_ADDRESS", "127.0.0.1:50051"), environment("VERIGATE_KEY", "dev.dev-secret"))
}

func connect(t *testing.T, address, key string) *Gateway {
	t.Helper()
	gateway, err := Connect(address, key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { gateway.Close() })
	return gateway
}

// somebody is a recipient whom nobody else uses.
func somebody(name string) string { return name + "-" + rand.Text() + "@example.com" }

func mustStart(
	t *testing.T, gateway *Gateway, recipient string, fill func(*verificationv1.StartVerificationRequest),
) *verificationv1.Verification {
	t.Helper()
	verification, err := start(t.Context(), gateway, recipient, fill)
	if err != nil {
		t.Fatal(err)
	}
	return verification
}

func assertOutcome(t *testing.T, gateway *Gateway, id, candidate string, expected verificationv1.CheckOutcome) {
	t.Helper()
	checked, err := check(t.Context(), gateway, id, candidate)
	if err != nil || checked.GetOutcome() != expected {
		t.Fatalf("%v, %v where %v is expected", checked.GetOutcome(), err, expected)
	}
}

// assertRefusal reads what a call that must fail says of itself.
func assertRefusal(t *testing.T, err error, code codes.Code, reason string) Refusal {
	t.Helper()
	refusal := ReadError(err)
	if refusal.Code != code || refusal.Reason != reason || (reason != "" && refusal.Domain != "verigate") {
		t.Fatalf("%+v where %v %s is expected", refusal, code, reason)
	}
	return refusal
}

func assertBetween(t *testing.T, least, actual, most time.Duration) {
	t.Helper()
	if actual < least || actual > most {
		t.Fatalf("%v is not between %v and %v", actual, least, most)
	}
}

func TestWatchSeesAnotherCallApprove(t *testing.T) {
	gateway, recipient := gateway(t), somebody("ann")
	verification := mustStart(t, gateway, recipient, func(request *verificationv1.StartVerificationRequest) {
		request.Metadata = map[string]string{"order": "17"}
	})
	if verification.GetStatus() != pending || verification.GetMetadata()["order"] != "17" {
		t.Fatal(verification)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen := make(chan verificationv1.VerificationStatus, 100)
	ended := make(chan error, 1)
	go func() {
		defer close(seen)
		ended <- watch(ctx, gateway, verification.GetId(), func(status verificationv1.VerificationStatus) { seen <- status })
	}()
	if first, open := <-seen; !open || first != pending {
		t.Fatalf("the watch begins with %v", first)
	}

	code, err := readCode(t.Context(), admin, recipient)
	if err != nil {
		t.Fatal(err)
	}
	assertOutcome(t, gateway, verification.GetId(), wrong(code), verificationv1.CheckOutcome_CHECK_OUTCOME_WRONG_CODE)
	assertOutcome(t, gateway, verification.GetId(), code, verificationv1.CheckOutcome_CHECK_OUTCOME_APPROVED)

	// The stream ends by itself after the terminal status.
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	var last verificationv1.VerificationStatus
	for last = range seen {
	}
	if last != verificationv1.VerificationStatus_VERIFICATION_STATUS_APPROVED {
		t.Fatalf("the watch ends with %v", last)
	}
	assertOutcome(t, gateway, verification.GetId(), code, verificationv1.CheckOutcome_CHECK_OUTCOME_ALREADY_APPROVED)
}

func TestLimitNamesItselfAndTheWait(t *testing.T) {
	gateway, recipient := gateway(t), somebody("ann")
	mustStart(t, gateway, recipient, nil)
	_, err := start(t.Context(), gateway, recipient, nil)
	refusal := assertRefusal(t, err, codes.ResourceExhausted, "COOL_DOWN")
	if !slices.Equal(refusal.Quotas, []string{"COOL_DOWN"}) {
		t.Fatal(refusal.Quotas)
	}
	assertBetween(t, time.Millisecond, refusal.RetryAfter, 30*time.Second)
}

func TestBadRequestNamesEveryField(t *testing.T) {
	_, err := start(t.Context(), gateway(t), "nobody", func(request *verificationv1.StartVerificationRequest) {
		request.Scope = "not a scope"
	})
	refusal := assertRefusal(t, err, codes.InvalidArgument, "INVALID_FIELD")
	if len(refusal.Fields) != 2 || refusal.Fields["recipient.phone"] == "" || refusal.Fields["scope"] == "" {
		t.Fatal(refusal.Fields)
	}
	assertBetween(t, 0, refusal.RetryAfter, 0)
}

func TestWrongKeyIsRefused(t *testing.T) {
	stranger := connect(t, environment("VERIGATE_ADDRESS", "127.0.0.1:50051"), "dev.wrong")
	_, err := start(t.Context(), stranger, somebody("ann"), nil)
	assertRefusal(t, err, codes.Unauthenticated, "CREDENTIALS_INVALID")
}

func TestDeadlineEndsACallThatWaits(t *testing.T) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := start(ctx, gateway(t), somebody("slow"), func(request *verificationv1.StartVerificationRequest) {
		request.DeliveryWait = durationpb.New(20 * time.Second)
	})
	if code := ReadError(err).Code; code != codes.DeadlineExceeded {
		t.Fatal(err)
	}
	assertBetween(t, 900*time.Millisecond, time.Since(began), 15*time.Second)
}

func TestDeadlineEndsAWatch(t *testing.T) {
	gateway := gateway(t)
	verification := mustStart(t, gateway, somebody("ann"), nil)
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	seen := 0
	err := watch(ctx, gateway, verification.GetId(), func(status verificationv1.VerificationStatus) {
		if seen++; status != pending {
			t.Error(status)
		}
	})
	if code := ReadError(err).Code; code != codes.DeadlineExceeded || seen == 0 {
		t.Fatal(seen, err)
	}
	assertBetween(t, 1900*time.Millisecond, time.Since(began), 15*time.Second)
}

func TestOnlyUnavailableIsTriedAgain(t *testing.T) {
	late := &faulty{codes: []codes.Code{codes.Unavailable, codes.Unavailable}}
	verification := mustStart(t, late.serve(t), somebody("ann"), nil)
	if verification.GetId() != "made at last" || len(late.keys) != 3 {
		t.Fatal(verification, late.keys)
	}
	// All tries are one request to the gateway.
	if len(slices.Compact(late.keys)) != 1 {
		t.Fatal(late.keys)
	}

	limited := &faulty{codes: []codes.Code{codes.ResourceExhausted}}
	_, err := start(t.Context(), limited.serve(t), somebody("ann"), nil)
	assertRefusal(t, err, codes.ResourceExhausted, "")
	if len(limited.keys) != 1 {
		t.Fatal(limited.keys)
	}
}

// Behind VERIGATE_FLAKY the gateway is away at first, and then its answer is lost: the code goes out once all the same.
func TestStartWhoseAnswerIsLostSendsOnce(t *testing.T) {
	address := environment("VERIGATE_FLAKY", environment("VERIGATE_ADDRESS", "127.0.0.1:50051"))
	flaky := connect(t, address, environment("VERIGATE_KEY", "dev.dev-secret"))
	recipient := somebody("ann")
	verification := mustStart(t, flaky, recipient, nil)
	messages, err := readInbox(t.Context(), admin, recipient)
	if err != nil || len(messages) != 1 || len(verification.GetSends()) != 1 {
		t.Fatal(messages, err, verification)
	}
}

func TestProgramAsksForTheCode(t *testing.T) {
	gateway, recipient := gateway(t), somebody("ann")
	in, typed := io.Pipe()
	printed, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- askUntilDecided(t.Context(), gateway, recipient, in, out)
		out.Close()
	}()
	lines := bufio.NewScanner(printed)
	for lines.Scan() && lines.Text() != "which code came?" {
	}
	code, err := readCode(t.Context(), admin, recipient)
	if err != nil {
		t.Fatal(err)
	}
	go fmt.Fprintf(typed, "%s\n%s\n", wrong(code), code)
	var rest []string
	for lines.Scan() {
		rest = append(rest, lines.Text())
	}
	if err := <-ended; err != nil || len(rest) != 3 || !strings.Contains(rest[2], "CHECK_OUTCOME_APPROVED") {
		t.Fatal(err, rest)
	}
}

func TestProgramVerifies(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), gateway(t), admin, somebody("ann"), &out); err != nil {
		t.Fatal(err, out.String())
	}
	for _, part := range []string{
		"DeadlineExceeded",
		"CHECK_OUTCOME_WRONG_CODE, 4 checks left",
		"CHECK_OUTCOME_APPROVED",
		"watch: VERIFICATION_STATUS_APPROVED",
		"ResourceExhausted COOL_DOWN, wait ",
		"InvalidArgument INVALID_FIELD",
	} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%s is not in\n%s", part, out.String())
		}
	}
}

// faulty is a server that first gives these statuses, one a call, and then is well.
type faulty struct {
	verificationv1.UnimplementedVerificationServiceServer
	codes []codes.Code
	keys  []string
}

func (f *faulty) StartVerification(
	_ context.Context, request *verificationv1.StartVerificationRequest,
) (*verificationv1.StartVerificationResponse, error) {
	f.keys = append(f.keys, request.GetIdempotencyKey())
	if len(f.codes) > 0 {
		code := f.codes[0]
		f.codes = f.codes[1:]
		return nil, status.Error(code, "as asked")
	}
	return &verificationv1.StartVerificationResponse{
		Verification: &verificationv1.Verification{Id: "made at last"},
	}, nil
}

// serve serves it on a free port, and gives a client of it.
func (f *faulty) serve(t *testing.T) *Gateway {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	verificationv1.RegisterVerificationServiceServer(server, f)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return connect(t, listener.Addr().String(), "dev.dev-secret")
}
