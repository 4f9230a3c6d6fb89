import java.nio.charset.StandardCharsets;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Record number i of a run: the same in every client program, described in tests/clients/README.md. */
final class Records {
    private static final long BASE_TIMESTAMP_MS = 1_700_000_000_000L;
    private static final byte[] BINARY = {0x00, (byte) 0xff, (byte) 0xfe, (byte) 0x80};

    private Records() {}

    static ProducerRecord<byte[], byte[]> record(Options options, long i) {
        int partitions = (int) options.number("partitions", 6);
        long timestamp = options.has("now") ? System.currentTimeMillis() : BASE_TIMESTAMP_MS + i;
        byte[] key = i % 10 == 0 ? null : bytes("key-" + i);
        byte[] value = i % 17 == 0 ? null : value(i, (int) options.number("value-bytes", 100));
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(
                options.text("topic"), (int) (i % partitions), timestamp, key, value);
        if (options.has("no-headers")) {
            return record;
        }
        record.headers().add("seq", bytes(Long.toString(i)));
        if (i % 3 == 0) {
            record.headers().add("dup", bytes("first-" + i)).add("dup", bytes("second-" + i));
        }
        if (i % 5 == 0) {
            record.headers().add("bin", BINARY).add("nil", null);
        }
        return record;
    }

    static byte[] value(long i, int length) {
        byte[] prefix = bytes("value-" + i + "-");
        byte[] value = new byte[length];
        for (int j = 0; j < length; j++) {
            value[j] = j < prefix.length ? prefix[j] : (byte) ('a' + (i + j) % 26);
        }
        return value;
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
