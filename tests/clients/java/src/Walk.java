import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** Seek, pause, resume and commits on partitions that no group assigned. */
final class Walk {
    private final Options options;
    private final Map<TopicPartition, Long> next = new HashMap<>();
    private long printed;

    Walk(Options options) {
        this.options = options;
    }

    void run() {
        var properties = Settings.consumer(options);
        properties.put("enable.auto.commit", "false");
        try (Consumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties)) {
            List<TopicPartition> all = consumer.partitionsFor(options.text("topic")).stream()
                    .map(info -> new TopicPartition(info.topic(), info.partition())).toList();
            TopicPartition zero = new TopicPartition(options.text("topic"), 0);
            List<TopicPartition> others = all.stream().filter(partition -> !partition.equals(zero)).toList();
            Map<TopicPartition, Long> end = consumer.endOffsets(all);
            consumer.assign(all);
            read(consumer, 1, all, 0, end, 50);
            consumer.pause(List.of(zero));
            read(consumer, 2, others, 20, end, 50);
            consumer.resume(List.of(zero));
            next.put(zero, 20L);
            until(consumer, 3, new HashMap<>(end));
            commits(consumer, end);
        }
        Out.line("done", "records", printed);
    }

    private void read(Consumer<byte[], byte[]> consumer, int phase, List<TopicPartition> partitions, long from,
            Map<TopicPartition, Long> end, long count) {
        Map<TopicPartition, Long> stop = new HashMap<>();
        for (TopicPartition partition : partitions) {
            next.put(partition, from);
            stop.put(partition, Math.min(from + count, end.get(partition)));
        }
        until(consumer, phase, stop);
    }

    /** Reads each partition up to its stop; what the client hands out beyond it is dropped and read again later. */
    private void until(Consumer<byte[], byte[]> consumer, int phase, Map<TopicPartition, Long> stop) {
        stop.keySet().forEach(partition -> consumer.seek(partition, next.get(partition)));
        Set<TopicPartition> open = new HashSet<>(stop.keySet());
        open.removeIf(partition -> next.get(partition) >= stop.get(partition));
        while (!open.isEmpty()) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                TopicPartition partition = new TopicPartition(record.topic(), record.partition());
                if (!stop.containsKey(partition)) {
                    Out.line("error", "where", "pause", "code", "PAUSED",
                            "message", "a record of a paused partition was delivered");
                } else if (record.offset() < stop.get(partition)) {
                    Out.record(record, phase);
                    printed++;
                }
            }
            // The position moves past control records too, which are never delivered.
            for (TopicPartition partition : stop.keySet()) {
                long position = Math.min(consumer.position(partition), stop.get(partition));
                next.put(partition, position);
                if (position >= stop.get(partition)) {
                    open.remove(partition);
                }
            }
        }
    }

    private void commits(Consumer<byte[], byte[]> consumer, Map<TopicPartition, Long> end) {
        Map<TopicPartition, OffsetAndMetadata> nearly = new HashMap<>();
        Map<TopicPartition, OffsetAndMetadata> fully = new HashMap<>();
        end.forEach((partition, offset) -> {
            nearly.put(partition, new OffsetAndMetadata(Math.max(offset - 1, 0)));
            fully.put(partition, new OffsetAndMetadata(offset));
        });
        consumer.commitSync(nearly);
        Out.committed("sync", consumer.committed(end.keySet()));
        boolean[] answered = {false};
        consumer.commitAsync(fully, (offsets, error) -> {
            answered[0] = true;
            if (error != null) {
                Out.error("commit", error);
            }
        });
        while (!answered[0]) {
            consumer.poll(Duration.ofMillis(50));
        }
        Out.committed("async", consumer.committed(end.keySet()));
    }
}
