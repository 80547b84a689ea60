// Verifies a person with Verigate, from Go.
//
// It starts a verification, meets the two commonest refusals, lets a deadline end a call, and watches the verification
// on a stream while a wrong and the right code are checked. For trying out, it takes the code from the dev inbox; with
// -ask it asks for it, as a real service would.
//
// README.md says how to run it, and how its stubs are made. The tests are in verify_test.go.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	messagingv1 "verigate.example/verify/gen/verigate/messaging/v1"
	verificationv1 "verigate.example/verify/gen/verigate/verification/v1"
)

// deadline is how long a call may take: longer than the longest delivery wait that goes with it.
const deadline = 15 * time.Second

var codeInText = regexp.MustCompile(`\b\d{6}\b`)

func main() {
	address := flag.String("address", environment("VERIGATE_ADDRESS", "127.0.0.1:50051"), "where gRPC is")
	admin := flag.String("admin", environment("VERIGATE_ADMIN", "http://127.0.0.1:9090"), "where the inbox is")
	recipient := flag.String("recipient", "+60123456789", "a phone number or an e-mail address")
	ask := flag.Bool("ask", false, "ask for the code, instead of reading it in the inbox")
	flag.Parse()
	// Not an argument: those of a process are for everybody to see.
	key := environment("VERIGATE_KEY", "dev.dev-secret")

	gateway, err := Connect(*address, key)
	if err == nil && *ask {
		err = askUntilDecided(context.Background(), gateway, *recipient, os.Stdin, os.Stdout)
	} else if err == nil {
		err = run(context.Background(), gateway, *admin, *recipient, os.Stdout)
	}
	if err != nil {
		refusal := ReadError(err)
		fmt.Printf("failed: %v %s: %s\n", refusal.Code, refusal.Reason, refusal.Message)
		os.Exit(1)
	}
}

func environment(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func run(ctx context.Context, gateway *Gateway, admin, recipient string, out io.Writer) error {
	verification, err := start(ctx, gateway, recipient, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "started %s\n", verification.GetId())

	for _, again := range []struct{ recipient, why string }{
		{recipient, "the same person, too soon"},
		{"nobody", "what is no recipient"},
	} {
		if _, err := start(ctx, gateway, again.recipient, nil); err != nil {
			tellRefusal(out, again.why, ReadError(err))
		}
	}

	// Nobody types the code meanwhile, so this waits as long as it may.
	began := time.Now()
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err = watch(short, gateway, verification.GetId(), func(verificationv1.VerificationStatus) {})
	fmt.Fprintf(out, "watched for %.1f s: %v\n", time.Since(began).Seconds(), ReadError(err).Code)

	// From here on the watch runs beside the checks.
	long, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	// It holds all that a watch of one verification tells.
	seen := make(chan verificationv1.VerificationStatus, 100)
	ended := make(chan error, 1)
	go func() {
		defer close(seen)
		ended <- watch(long, gateway, verification.GetId(), func(status verificationv1.VerificationStatus) { seen <- status })
	}()

	code, err := readCode(ctx, admin, recipient)
	if err != nil {
		return err
	}
	for _, candidate := range []string{wrong(code), code} {
		checked, err := check(ctx, gateway, verification.GetId(), candidate)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "checked: %v, %d checks left\n", checked.GetOutcome(), checked.GetChecksLeft())
	}
	for status := range seen {
		fmt.Fprintf(out, "  watch: %v\n", status)
	}
	return <-ended
}

// askUntilDecided checks what is typed until that settles it.
func askUntilDecided(ctx context.Context, gateway *Gateway, recipient string, in io.Reader, out io.Writer) error {
	verification, err := start(ctx, gateway, recipient, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "started %s\n", verification.GetId())
	lines := bufio.NewScanner(in)
	for {
		fmt.Fprintln(out, "which code came?")
		if !lines.Scan() {
			return errors.New("nobody answers")
		}
		checked, err := check(ctx, gateway, verification.GetId(), strings.TrimSpace(lines.Text()))
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "checked: %v, %d checks left\n", checked.GetOutcome(), checked.GetChecksLeft())
		if checked.GetOutcome() != verificationv1.CheckOutcome_CHECK_OUTCOME_WRONG_CODE {
			return nil
		}
	}
}

func tellRefusal(out io.Writer, why string, refusal Refusal) {
	fmt.Fprintf(out, "%s: %v %s", why, refusal.Code, refusal.Reason)
	if refusal.RetryAfter > 0 {
		fmt.Fprintf(out, ", wait %.0f s", refusal.RetryAfter.Seconds())
	}
	fmt.Fprintln(out)
	for field, wanted := range refusal.Fields {
		fmt.Fprintf(out, "  %s: %s\n", field, wanted)
	}
}

// start sends a code, and gives the verification once a vendor took the message or some seconds have passed. fill may
// add to the request.
func start(
	ctx context.Context, gateway *Gateway, recipient string, fill func(*verificationv1.StartVerificationRequest),
) (*verificationv1.Verification, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	request := &verificationv1.StartVerificationRequest{
		Recipient:    parseRecipient(recipient),
		DeliveryWait: durationpb.New(5 * time.Second),
		// A retry of this call finds what the first try made, instead of sending another code.
		IdempotencyKey: rand.Text(),
	}
	if fill != nil {
		fill(request)
	}
	answer, err := gateway.StartVerification(ctx, request)
	return answer.GetVerification(), err
}

func parseRecipient(text string) *messagingv1.Recipient {
	if strings.Contains(text, "@") {
		return &messagingv1.Recipient{Address: &messagingv1.Recipient_Email{Email: text}}
	}
	return &messagingv1.Recipient{Address: &messagingv1.Recipient_Phone{Phone: text}}
}

// check compares what was typed. A wrong code is an answer, not an error: only CHECK_OUTCOME_APPROVED lets anybody in.
func check(
	ctx context.Context, gateway *Gateway, id, candidate string,
) (*verificationv1.CheckVerificationResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	return gateway.CheckVerification(ctx, &verificationv1.CheckVerificationRequest{
		Target: &verificationv1.CheckVerificationRequest_Id{Id: id},
		Code:   candidate,
		// A retry of this call costs no check, and is told what the first try was told.
		IdempotencyKey: rand.Text(),
	})
}

// watch tells each status as it comes, and returns after the last.
func watch(ctx context.Context, gateway *Gateway, id string, tell func(verificationv1.VerificationStatus)) error {
	stream, err := gateway.WatchVerification(ctx, &verificationv1.WatchVerificationRequest{Id: id})
	if err != nil {
		return err
	}
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		tell(answer.GetVerification().GetStatus())
	}
}

// message is one in the dev inbox.
type message struct{ Text string }

// readCode gives the code of the newest message: what the person would read from a screen.
func readCode(ctx context.Context, admin, recipient string) (string, error) {
	messages, err := readInbox(ctx, admin, recipient)
	if err != nil {
		return "", err
	}
	if len(messages) == 0 {
		return "", fmt.Errorf("the inbox has nothing for %s", recipient)
	}
	return codeInText.FindString(messages[0].Text), nil
}

// readInbox gives what the dev inbox holds for a recipient, newest first.
func readInbox(ctx context.Context, admin, recipient string) ([]message, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	target := admin + "/inbox/messages?" + url.Values{"recipient": {recipient}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var messages []message
	err = json.NewDecoder(answer.Body).Decode(&messages)
	return messages, err
}

// wrong gives another code than this one.
func wrong(code string) string {
	last := len(code) - 1
	return code[:last] + string('0'+(code[last]-'0'+1)%10)
}
