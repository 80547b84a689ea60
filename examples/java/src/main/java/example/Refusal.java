package example;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.QuotaFailure;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;

/**
 * Why a call failed, with the details of the error unpacked. Decide by code and reason; the message is for people and
 * may change.
 *
 * @param reason a name from verigate.error.v1.ErrorReason without its prefix; empty when the gateway did not answer at
 *     all
 * @param retryAfter how long to wait before the next try, where waiting helps
 * @param fields what is wrong with which field of the request
 * @param quotas which limits were reached
 */
public record Refusal(
        Status.Code code,
        String message,
        String reason,
        String domain,
        Optional<Duration> retryAfter,
        Map<String, String> fields,
        List<String> quotas) {

    public static Refusal of(StatusRuntimeException error) {
        var details = StatusProto.fromThrowable(error).getDetailsList();
        var info = find(details, ErrorInfo.class).orElse(ErrorInfo.getDefaultInstance());
        var wait = find(details, RetryInfo.class).map(RetryInfo::getRetryDelay);
        var request = find(details, BadRequest.class).orElse(BadRequest.getDefaultInstance());
        var quota = find(details, QuotaFailure.class).orElse(QuotaFailure.getDefaultInstance());
        return new Refusal(
                error.getStatus().getCode(),
                error.getStatus().getDescription(),
                info.getReason(),
                info.getDomain(),
                wait.map(delay -> Duration.ofSeconds(delay.getSeconds(), delay.getNanos())),
                request.getFieldViolationsList().stream().collect(Collectors.toMap(
                        BadRequest.FieldViolation::getField,
                        BadRequest.FieldViolation::getDescription,
                        (one, other) -> one + "; " + other)),
                quota.getViolationsList().stream().map(QuotaFailure.Violation::getSubject).toList());
    }

    private static <M extends com.google.protobuf.Message> Optional<M> find(List<Any> details, Class<M> kind) {
        return details.stream().filter(detail -> detail.is(kind)).findFirst().map(detail -> {
            try {
                return detail.unpack(kind);
            } catch (InvalidProtocolBufferException error) {
                throw new IllegalArgumentException("a detail that cannot be read", error);
            }
        });
    }
}
