import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.protocol.Errors;

/** JSON lines on standard output. Written by hand, so that the program needs nothing but kafka-clients. */
final class Out {
    private static final PrintStream STDOUT = new PrintStream(
            new java.io.BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 16), false,
            StandardCharsets.UTF_8);

    /** A value that is JSON already. */
    record Raw(String json) {}

    private Out() {}

    static synchronized void line(String type, Object... namesAndValues) {
        StringBuilder json = new StringBuilder("{\"type\":").append(json(type));
        for (int i = 0; i + 1 < namesAndValues.length; i += 2) {
            json.append(',').append(json(namesAndValues[i])).append(':').append(json(namesAndValues[i + 1]));
        }
        STDOUT.print(json.append("}\n"));
        STDOUT.flush();
    }

    static void error(String where, Throwable cause) {
        Throwable root = cause instanceof java.util.concurrent.ExecutionException && cause.getCause() != null
                ? cause.getCause() : cause;
        line("error", "where", where, "code", Errors.forException(root).name(),
                "message", root.getClass().getSimpleName() + ": " + root.getMessage());
    }

    static void record(ConsumerRecord<byte[], byte[]> record, int phase) {
        record(record, phase, System.currentTimeMillis());
    }

    static void record(ConsumerRecord<byte[], byte[]> record, int phase, long receivedMs) {
        StringBuilder headers = new StringBuilder("[");
        for (Header header : record.headers()) {
            headers.append(headers.length() == 1 ? "" : ",").append('[').append(json(header.key()))
                    .append(',').append(json(header.value())).append(']');
        }
        line("record", "phase", phase, "partition", record.partition(), "offset", record.offset(),
                "key", record.key(), "value", record.value(), "headers", new Raw(headers + "]"),
                "timestamp", record.timestamp(), "received", receivedMs);
    }

    static void committed(String how, Map<TopicPartition, OffsetAndMetadata> offsets) {
        Map<String, Object> byPartition = new TreeMap<>();
        offsets.forEach((partition, offset) -> {
            if (offset != null) {
                byPartition.put(String.valueOf(partition.partition()), offset.offset());
            }
        });
        line("committed", "how", how, "offsets", byPartition);
    }

    static List<Integer> numbers(Iterable<TopicPartition> partitions) {
        List<Integer> numbers = new java.util.ArrayList<>();
        partitions.forEach(partition -> numbers.add(partition.partition()));
        numbers.sort(null);
        return numbers;
    }

    static String json(Object value) {
        if (value == null) {
            return "null";
        }
        if (value instanceof Raw raw) {
            return raw.json();
        }
        if (value instanceof Number || value instanceof Boolean) {
            return value.toString();
        }
        if (value instanceof byte[] bytes) {
            return '"' + Base64.getEncoder().encodeToString(bytes) + '"';
        }
        if (value instanceof Map<?, ?> map) {
            return map.entrySet().stream().map(entry -> json(entry.getKey().toString()) + ':' + json(entry.getValue()))
                    .collect(Collectors.joining(",", "{", "}"));
        }
        if (value instanceof Iterable<?> items) {
            StringBuilder json = new StringBuilder("[");
            items.forEach(item -> json.append(json.length() == 1 ? "" : ",").append(json(item)));
            return json.append(']').toString();
        }
        return quoted(value.toString());
    }

    private static String quoted(String text) {
        StringBuilder json = new StringBuilder("\"");
        text.chars().forEach(c -> {
            if (c == '"' || c == '\\') {
                json.append('\\').append((char) c);
            } else if (c < 0x20) {
                json.append(String.format("\\u%04x", c));
            } else {
                json.append((char) c);
            }
        });
        return json.append('"').toString();
    }
}
