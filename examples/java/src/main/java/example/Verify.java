package example;

import io.grpc.StatusRuntimeException;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import verigate.messaging.v1.Recipient;
import verigate.verification.v1.CheckOutcome;
import verigate.verification.v1.CheckVerificationRequest;
import verigate.verification.v1.CheckVerificationResponse;
import verigate.verification.v1.StartVerificationRequest;
import verigate.verification.v1.Verification;
import verigate.verification.v1.VerificationStatus;
import verigate.verification.v1.WatchVerificationRequest;

/**
 * Verifies a person with Verigate, from Java.
 *
 * <p>It starts a verification, meets the two commonest refusals, lets a deadline end a call, and watches the
 * verification on a stream while a wrong and the right code are checked. For trying out, it takes the code from the dev
 * inbox; with --ask it asks for it, as a real service would.
 *
 * <p>README.md says how to run it, and how its stubs are made. The tests are in VerifyTest.
 */
public final class Verify {
    /** How long a call may take: longer than the longest delivery wait that goes with it. */
    static final Duration DEADLINE = Duration.ofSeconds(15);

    /** Six digits in the text of a message. */
    private static final Pattern CODE = Pattern.compile("\"text\"\\s*:\\s*\"[^\"]*?\\b(\\d{6})\\b");

    private final Gateway gateway;
    private final String admin;

    /**
     * @param admin where the inbox is, http://HOST:PORT
     */
    Verify(Gateway gateway, String admin) {
        this.gateway = gateway;
        this.admin = admin;
    }

    public static void main(String[] arguments) throws Exception {
        var address = environment("VERIGATE_ADDRESS", "127.0.0.1:50051");
        var admin = environment("VERIGATE_ADMIN", "http://127.0.0.1:9090");
        var key = environment("VERIGATE_KEY", "dev.dev-secret");
        var words = List.of(arguments);
        var recipient = words.stream().filter(word -> !word.startsWith("--")).findFirst().orElse("+60123456789");
        try (var gateway = new Gateway(address, key)) {
            var verify = new Verify(gateway, admin);
            if (words.contains("--ask")) {
                verify.askUntilDecided(recipient, new BufferedReader(new InputStreamReader(System.in)), System.out);
            } else {
                verify.run(recipient, System.out);
            }
        } catch (StatusRuntimeException error) {
            var refusal = Refusal.of(error);
            System.out.printf("failed: %s %s: %s%n", refusal.code(), refusal.reason(), refusal.message());
            System.exit(1);
        }
    }

    static String environment(String name, String otherwise) {
        return System.getenv().getOrDefault(name, otherwise);
    }

    void run(String recipient, PrintStream out) throws IOException, InterruptedException {
        var id = start(recipient).getId();
        out.printf("started %s%n", id);

        for (var again : List.of(
                Map.entry(recipient, "the same person, too soon"), Map.entry("nobody", "what is no recipient"))) {
            try {
                start(again.getKey());
            } catch (StatusRuntimeException error) {
                tellRefusal(again.getValue(), Refusal.of(error), out);
            }
        }

        var began = System.nanoTime();
        try {
            // Nobody types the code meanwhile, so this waits as long as it may.
            watch(id, status -> {}, Duration.ofSeconds(1));
        } catch (StatusRuntimeException error) {
            var seconds = (System.nanoTime() - began) / 1e9;
            out.printf("watched for %.1f s: %s%n", seconds, Refusal.of(error).code());
        }

        // From here on the watch runs beside the checks.
        var watching = CompletableFuture.runAsync(
                () -> watch(id, status -> out.printf("  watch: %s%n", status), Duration.ofMinutes(10)));
        var code = readCode(recipient);
        for (var candidate : List.of(wrong(code), code)) {
            var checked = check(id, candidate);
            out.printf("checked: %s, %d checks left%n", checked.getOutcome(), checked.getChecksLeft());
        }
        watching.join();
    }

    /** Checks what is typed until that settles it. */
    void askUntilDecided(String recipient, BufferedReader in, PrintStream out) throws IOException {
        var id = start(recipient).getId();
        out.printf("started %s%n", id);
        while (true) {
            out.println("which code came?");
            var typed = in.readLine();
            if (typed == null) {
                throw new IOException("nobody answers");
            }
            var checked = check(id, typed.strip());
            out.printf("checked: %s, %d checks left%n", checked.getOutcome(), checked.getChecksLeft());
            if (checked.getOutcome() != CheckOutcome.CHECK_OUTCOME_WRONG_CODE) {
                return;
            }
        }
    }

    private static void tellRefusal(String why, Refusal refusal, PrintStream out) {
        var wait = refusal.retryAfter().map(delay -> ", wait " + delay.toSeconds() + " s").orElse("");
        out.printf("%s: %s %s%s%n", why, refusal.code(), refusal.reason(), wait);
        refusal.fields().forEach((field, wanted) -> out.printf("  %s: %s%n", field, wanted));
    }

    /** Sends a code, and gives the verification once a vendor took the message or some seconds have passed. */
    Verification start(String recipient) {
        return start(request(recipient), DEADLINE);
    }

    Verification start(StartVerificationRequest.Builder request, Duration deadline) {
        return gateway.within(deadline).startVerification(request.build()).getVerification();
    }

    static StartVerificationRequest.Builder request(String recipient) {
        var address = recipient.contains("@")
                ? Recipient.newBuilder().setEmail(recipient)
                : Recipient.newBuilder().setPhone(recipient);
        return StartVerificationRequest.newBuilder()
                .setRecipient(address)
                .setDeliveryWait(com.google.protobuf.Duration.newBuilder().setSeconds(5))
                // A retry of this call finds what the first try made, instead of sending another code.
                .setIdempotencyKey(UUID.randomUUID().toString());
    }

    /** Compares what was typed. A wrong code is an answer, not an error: only APPROVED lets anybody in. */
    CheckVerificationResponse check(String id, String candidate) {
        var request = CheckVerificationRequest.newBuilder()
                .setId(id)
                .setCode(candidate)
                // A retry of this call costs no check, and is told what the first try was told.
                .setIdempotencyKey(UUID.randomUUID().toString())
                .build();
        return gateway.within(DEADLINE).checkVerification(request);
    }

    /** Tells each status as it comes, and returns after the last. */
    void watch(String id, Consumer<VerificationStatus> tell, Duration deadline) {
        var request = WatchVerificationRequest.newBuilder().setId(id).build();
        gateway.within(deadline)
                .watchVerification(request)
                .forEachRemaining(answer -> tell.accept(answer.getVerification().getStatus()));
    }

    /** What the dev inbox holds for a recipient, newest first, in JSON. */
    String readInbox(String recipient) throws IOException, InterruptedException {
        var query = "recipient=" + URLEncoder.encode(recipient, StandardCharsets.UTF_8);
        var request = HttpRequest.newBuilder(URI.create(admin + "/inbox/messages?" + query)).timeout(DEADLINE).build();
        return HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body();
    }

    /** The code of the newest message: what the person would read from a screen. */
    String readCode(String recipient) throws IOException, InterruptedException {
        var code = CODE.matcher(readInbox(recipient));
        if (!code.find()) {
            throw new IOException("the inbox has no code for " + recipient);
        }
        return code.group(1);
    }

    /** Another code than this one. */
    static String wrong(String code) {
        var last = code.length() - 1;
        return code.substring(0, last) + (Character.digit(code.charAt(last), 10) + 1) % 10;
    }
}
