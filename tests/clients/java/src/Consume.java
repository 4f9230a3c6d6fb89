import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** One member of a consumer group. */
final class Consume {
    private final Options options;
    private final String commit;
    private long settled;

    Consume(Options options) {
        this.options = options;
        this.commit = options.has("defaults") ? "auto" : options.text("commit", "sync");
    }

    void run() {
        Stdin stdin = new Stdin();
        long until = options.number("until", Long.MAX_VALUE);
        long seen = 0;
        try (Consumer<byte[], byte[]> consumer = new KafkaConsumer<>(Settings.groupConsumer(options))) {
            consumer.subscribe(List.of(options.text("topic")), new Rebalances());
            while (seen < until && !stdin.leave()) {
                seen += step(consumer);
            }
        }
        Out.line("done", "records", seen);
    }

    private int step(Consumer<byte[], byte[]> consumer) {
        ConsumerRecords<byte[], byte[]> records;
        try {
            records = consumer.poll(Duration.ofMillis(100));
        } catch (RuntimeException error) {
            Out.error("consume", error);
            Pause.milliseconds(100);
            return 0;
        }
        long receivedMs = System.currentTimeMillis();
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (ConsumerRecord<byte[], byte[]> record : records) {
            Out.record(record, 0, receivedMs);
            if (settled++ >= options.number("commit-records", Long.MAX_VALUE)) {
                continue;
            }
            offsets.put(new TopicPartition(record.topic(), record.partition()),
                    new OffsetAndMetadata(record.offset() + 1));
        }
        if (!offsets.isEmpty()) {
            commit(consumer, offsets);
        }
        long pause = options.number("pause-ms", 0);
        if (pause > 0 && records.count() > 0) {
            Pause.milliseconds(pause);
        }
        return records.count();
    }

    private void commit(Consumer<byte[], byte[]> consumer, Map<TopicPartition, OffsetAndMetadata> offsets) {
        if (commit.equals("sync")) {
            try {
                consumer.commitSync(offsets);
                Out.committed("sync", offsets);
            } catch (RuntimeException error) {
                Out.error("commit", error);
            }
        } else if (commit.equals("async")) {
            consumer.commitAsync(offsets, (done, error) -> {
                if (error == null) {
                    Out.committed("async", done);
                } else {
                    Out.error("commit", error);
                }
            });
        }
    }

    private final class Rebalances implements ConsumerRebalanceListener {
        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            Out.line("assigned", "member", options.text("member", "java"), "partitions", Out.numbers(partitions));
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            Out.line("revoked", "member", options.text("member", "java"), "partitions", Out.numbers(partitions));
        }
    }
}
