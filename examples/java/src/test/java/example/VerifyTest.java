package example;

import static example.Verify.environment;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.io.Reader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.Queue;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;
import verigate.verification.v1.CheckOutcome;
import verigate.verification.v1.StartVerificationRequest;
import verigate.verification.v1.StartVerificationResponse;
import verigate.verification.v1.Verification;
import verigate.verification.v1.VerificationServiceGrpc.VerificationServiceImplBase;
import verigate.verification.v1.VerificationStatus;

/**
 * Tests the example against a running gateway, whose addresses come from VERIGATE_ADDRESS and VERIGATE_ADMIN.
 *
 * <p>One test needs an inbox that is slow to some. By hand:
 *
 * <pre>
 * VERIGATE__VENDORS__INBOX__OUTCOMES='[{pattern = "slow-*", outcome = "slow", delay = "25s"}]' verigate serve
 * mvn -q test
 * </pre>
 */
@Timeout(60)
class VerifyTest {
    private static final String ADDRESS = environment("VERIGATE_ADDRESS", "127.0.0.1:50051");
    private static final String ADMIN = environment("VERIGATE_ADMIN", "http://127.0.0.1:9090");
    private static final String KEY = environment("VERIGATE_KEY", "dev.dev-secret");

    private final Gateway gateway = new Gateway(ADDRESS, KEY);
    private final Verify verify = new Verify(gateway, ADMIN);

    @AfterEach
    void close() {
        gateway.close();
    }

    @Test
    void aWatchSeesAnotherCallApprove() throws Exception {
        var recipient = somebody("ann");
        var started = verify.start(Verify.request(recipient).putMetadata("order", "17"), Verify.DEADLINE);
        assertEquals(VerificationStatus.VERIFICATION_STATUS_PENDING, started.getStatus());
        assertEquals("17", started.getMetadataMap().get("order"));

        var id = started.getId();
        var seen = new LinkedBlockingQueue<VerificationStatus>();
        var watching = CompletableFuture.runAsync(() -> verify.watch(id, seen::add, Duration.ofSeconds(60)));
        assertEquals(VerificationStatus.VERIFICATION_STATUS_PENDING, seen.poll(30, TimeUnit.SECONDS));

        var code = verify.readCode(recipient);
        var checked = verify.check(id, Verify.wrong(code));
        assertEquals(CheckOutcome.CHECK_OUTCOME_WRONG_CODE, checked.getOutcome());
        assertEquals(4, checked.getChecksLeft());
        assertEquals(CheckOutcome.CHECK_OUTCOME_APPROVED, verify.check(id, code).getOutcome());

        // The stream ends by itself after the terminal status.
        watching.get(30, TimeUnit.SECONDS);
        var all = List.copyOf(seen);
        assertEquals(VerificationStatus.VERIFICATION_STATUS_APPROVED, all.get(all.size() - 1));
        assertEquals(CheckOutcome.CHECK_OUTCOME_ALREADY_APPROVED, verify.check(id, code).getOutcome());
    }

    @Test
    void aLimitNamesItselfAndTheWait() {
        var recipient = somebody("ann");
        verify.start(recipient);
        var refusal = refusal(() -> verify.start(recipient));
        assertRefused(refusal, Status.Code.RESOURCE_EXHAUSTED, "COOL_DOWN");
        assertEquals(List.of("COOL_DOWN"), refusal.quotas());
        assertBetween(Duration.ofMillis(1), refusal.retryAfter().orElseThrow(), Duration.ofSeconds(30));
    }

    @Test
    void aBadRequestNamesEveryField() {
        var request = Verify.request("nobody").setScope("not a scope");
        var refusal = refusal(() -> verify.start(request, Verify.DEADLINE));
        assertRefused(refusal, Status.Code.INVALID_ARGUMENT, "INVALID_FIELD");
        assertEquals(Set.of("recipient.phone", "scope"), refusal.fields().keySet());
        assertTrue(refusal.fields().values().stream().noneMatch(String::isEmpty), refusal.toString());
        assertEquals(Optional.empty(), refusal.retryAfter());
    }

    @Test
    void aWrongKeyIsRefused() {
        try (var stranger = new Gateway(ADDRESS, "dev.wrong")) {
            var refusal = refusal(() -> new Verify(stranger, ADMIN).start(somebody("ann")));
            assertRefused(refusal, Status.Code.UNAUTHENTICATED, "CREDENTIALS_INVALID");
        }
    }

    @Test
    void aDeadlineEndsACallThatWaits() {
        var wait = com.google.protobuf.Duration.newBuilder().setSeconds(20);
        var request = Verify.request(somebody("slow")).setDeliveryWait(wait);
        var began = System.nanoTime();
        var refusal = refusal(() -> verify.start(request, Duration.ofSeconds(1)));
        assertEquals(Status.Code.DEADLINE_EXCEEDED, refusal.code());
        assertBetween(Duration.ofMillis(900), since(began), Duration.ofSeconds(15));
    }

    @Test
    void aDeadlineEndsAWatch() {
        var id = verify.start(somebody("ann")).getId();
        var seen = Collections.synchronizedSet(new java.util.HashSet<VerificationStatus>());
        var began = System.nanoTime();
        var refusal = refusal(() -> verify.watch(id, seen::add, Duration.ofSeconds(2)));
        assertEquals(Status.Code.DEADLINE_EXCEEDED, refusal.code());
        assertBetween(Duration.ofMillis(1900), since(began), Duration.ofSeconds(15));
        assertEquals(Set.of(VerificationStatus.VERIFICATION_STATUS_PENDING), seen);
    }

    @Test
    void onlyUnavailableIsTriedAgain() throws Exception {
        try (var late = new Faulty(Status.UNAVAILABLE, Status.UNAVAILABLE)) {
            assertEquals("made at last", late.verify.start(somebody("ann")).getId());
            assertEquals(3, late.keys.size());
            // All tries are one request to the gateway.
            assertEquals(1, Set.copyOf(late.keys).size());
        }
        try (var limited = new Faulty(Status.RESOURCE_EXHAUSTED)) {
            var refusal = refusal(() -> limited.verify.start(somebody("ann")));
            assertEquals(Status.Code.RESOURCE_EXHAUSTED, refusal.code());
            assertEquals(1, limited.keys.size());
        }
    }

    /** Behind VERIGATE_FLAKY the gateway is away at first, and then its answer is lost. */
    @Test
    void aStartWhoseAnswerIsLostSendsOnce() throws Exception {
        var recipient = somebody("ann");
        try (var flaky = new Gateway(environment("VERIGATE_FLAKY", ADDRESS), KEY)) {
            assertEquals(1, new Verify(flaky, ADMIN).start(recipient).getSendsCount());
        }
        assertEquals(2, verify.readInbox(recipient).split("\"text\"").length, "one message");
    }

    @Test
    void theProgramAsksForTheCode() throws Exception {
        var recipient = somebody("ann");
        // Each line is taken from the inbox when it is asked for: first another code, then the right one.
        var in = new BufferedReader(Reader.nullReader()) {
            private boolean asked;

            @Override
            public String readLine() throws IOException {
                try {
                    var code = verify.readCode(recipient);
                    var typed = asked ? code : Verify.wrong(code);
                    asked = true;
                    return typed;
                } catch (InterruptedException error) {
                    throw new IOException(error);
                }
            }
        };
        var printed = new ByteArrayOutputStream();
        verify.askUntilDecided(recipient, in, new PrintStream(printed, true, StandardCharsets.UTF_8));
        var lines = printed.toString(StandardCharsets.UTF_8).lines().toList();
        assertEquals(5, lines.size(), lines::toString);
        assertTrue(lines.get(2).contains("WRONG_CODE, 4 checks left"), lines::toString);
        assertTrue(lines.get(4).contains("CHECK_OUTCOME_APPROVED"), lines::toString);
    }

    @Test
    void theProgramVerifies() throws Exception {
        var printed = new ByteArrayOutputStream();
        verify.run(somebody("ann"), new PrintStream(printed, true, StandardCharsets.UTF_8));
        var text = printed.toString(StandardCharsets.UTF_8);
        for (var part : List.of(
                "DEADLINE_EXCEEDED",
                "CHECK_OUTCOME_WRONG_CODE, 4 checks left",
                "CHECK_OUTCOME_APPROVED",
                "watch: VERIFICATION_STATUS_APPROVED",
                "RESOURCE_EXHAUSTED COOL_DOWN, wait ",
                "INVALID_ARGUMENT INVALID_FIELD")) {
            assertTrue(text.contains(part), () -> part + " is not in\n" + text);
        }
    }

    /** A recipient whom nobody else uses. */
    private static String somebody(String name) {
        return name + "-" + UUID.randomUUID() + "@example.com";
    }

    /** What a call that must fail says of itself. */
    private static Refusal refusal(Executable call) {
        return Refusal.of(assertThrows(StatusRuntimeException.class, call));
    }

    private static void assertRefused(Refusal refusal, Status.Code code, String reason) {
        assertEquals(code, refusal.code(), refusal::toString);
        assertEquals(reason, refusal.reason());
        assertEquals("verigate", refusal.domain());
    }

    private static Duration since(long began) {
        return Duration.ofNanos(System.nanoTime() - began);
    }

    private static void assertBetween(Duration least, Duration actual, Duration most) {
        assertTrue(actual.compareTo(least) >= 0 && actual.compareTo(most) <= 0, actual::toString);
    }

    /** A server on a free port that first gives these statuses, one a call, and then is well; and a client of it. */
    private static final class Faulty extends VerificationServiceImplBase implements AutoCloseable {
        private final Queue<Status> statuses;
        private final Server server;
        private final Gateway gateway;
        final List<String> keys = Collections.synchronizedList(new ArrayList<>());
        final Verify verify;

        Faulty(Status... statuses) throws IOException {
            this.statuses = new ArrayDeque<>(List.of(statuses));
            server = Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create()).addService(this).build().start();
            gateway = new Gateway("127.0.0.1:" + server.getPort(), KEY);
            verify = new Verify(gateway, ADMIN);
        }

        @Override
        public void startVerification(
                StartVerificationRequest request, StreamObserver<StartVerificationResponse> answer) {
            keys.add(request.getIdempotencyKey());
            var status = statuses.poll();
            if (status != null) {
                answer.onError(status.asRuntimeException());
                return;
            }
            var verification = Verification.newBuilder().setId("made at last");
            answer.onNext(StartVerificationResponse.newBuilder().setVerification(verification).build());
            answer.onCompleted();
        }

        @Override
        public void close() {
            gateway.close();
            server.shutdownNow();
        }
    }
}
