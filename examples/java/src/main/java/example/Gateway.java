package example;

import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import verigate.verification.v1.VerificationServiceGrpc;
import verigate.verification.v1.VerificationServiceGrpc.VerificationServiceBlockingStub;

/**
 * What a Java service needs to call Verigate: a connection with credentials, to be kept and shared between threads. It
 * knows nothing of what is verified; {@link Verify} shows it at work.
 */
public final class Gateway implements AutoCloseable {
    private static final Metadata.Key<String> AUTHORIZATION =
            Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

    /**
     * Calls that do no harm when they are made twice: they only read, or end where they ended, or carry an idempotency
     * key (so give one to every start and check). ResendVerification is not among them: it sends again.
     */
    private static final List<String> REPEATABLE = List.of(
            "StartVerification",
            "CheckVerification",
            "CancelVerification",
            "GetVerification",
            "ListVerifications",
            "WatchVerification");

    /**
     * UNAVAILABLE is the one status after which the same call may succeed by itself a moment later. While nobody answers
     * at all, a call waits, up to its deadline: a gateway may be starting anew.
     */
    private static final Map<String, ?> SERVICE_CONFIG = Map.of("methodConfig", List.of(Map.of(
            "name", REPEATABLE.stream()
                    .map(method -> Map.of("service", VerificationServiceGrpc.SERVICE_NAME, "method", method))
                    .toList(),
            "waitForReady", true,
            "retryPolicy", Map.of(
                    "maxAttempts", 4.0,
                    "initialBackoff", "0.1s",
                    "maxBackoff", "1s",
                    "backoffMultiplier", 2.0,
                    "retryableStatusCodes", List.of("UNAVAILABLE")))));

    private final ManagedChannel channel;
    private final VerificationServiceBlockingStub verifications;

    /**
     * @param address HOST:PORT
     * @param key an API key, ID.SECRET
     */
    public Gateway(String address, String key) {
        // In the clear, so for this machine. With TLS before the gateway: TlsChannelCredentials.create().
        channel = Grpc.newChannelBuilder(address, InsecureChannelCredentials.create())
                .defaultServiceConfig(SERVICE_CONFIG)
                .build();
        var credentials = new Metadata();
        credentials.put(AUTHORIZATION, "Bearer " + key);
        verifications = VerificationServiceGrpc.newBlockingStub(channel)
                .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(credentials));
    }

    /** A stub whose next call may take so long; deadlines begin here, so take one for each call. */
    public VerificationServiceBlockingStub within(Duration deadline) {
        return verifications.withDeadlineAfter(deadline);
    }

    @Override
    public void close() {
        channel.shutdownNow();
    }
}
