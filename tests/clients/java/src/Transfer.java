import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/** Reads one topic and writes another, offsets and records in one transaction each (exactly once). */
final class Transfer {
    private final Options options;
    private long batches;

    Transfer(Options options) {
        this.options = options;
    }

    void run() {
        Stdin stdin = new Stdin();
        long until = options.number("until", Long.MAX_VALUE);
        long moved = 0;
        var reads = Settings.groupConsumer(options);
        reads.put("enable.auto.commit", "false");
        reads.put("isolation.level", "read_committed");
        try (Consumer<byte[], byte[]> consumer = new KafkaConsumer<>(reads);
                Producer<byte[], byte[]> producer = new KafkaProducer<>(Settings.producer(options))) {
            producer.initTransactions();
            consumer.subscribe(List.of(options.text("topic")));
            while (moved < until && !stdin.leave()) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
                if (!records.isEmpty() && move(consumer, producer, records)) {
                    moved += records.count();
                }
            }
        } catch (RuntimeException error) {
            Out.error("transfer", error);
        }
        Out.line("done", "records", moved);
    }

    /** True when the transaction was committed; after an abort the consumer goes back and reads the same again. */
    private boolean move(Consumer<byte[], byte[]> consumer, Producer<byte[], byte[]> producer,
            ConsumerRecords<byte[], byte[]> records) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        Map<TopicPartition, Long> first = new HashMap<>();
        producer.beginTransaction();
        for (ConsumerRecord<byte[], byte[]> record : records) {
            TopicPartition partition = new TopicPartition(record.topic(), record.partition());
            first.putIfAbsent(partition, record.offset());
            offsets.put(partition, new OffsetAndMetadata(record.offset() + 1));
            producer.send(transformed(record), (metadata, error) -> {
                if (error != null) {
                    Out.error("produce", error);
                }
            });
        }
        producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
        batches++;
        long abortEvery = options.number("abort-every", 0);
        boolean abort = abortEvery > 0 && batches % abortEvery == 0;
        if (abort) {
            // What is still buffered would fail with the abort, which is no error here.
            producer.flush();
            producer.abortTransaction();
            first.forEach(consumer::seek);
        } else {
            producer.commitTransaction();
        }
        Out.line("transaction", "records", records.count(), "outcome", abort ? "aborted" : "committed");
        return !abort;
    }

    private ProducerRecord<byte[], byte[]> transformed(ConsumerRecord<byte[], byte[]> record) {
        ProducerRecord<byte[], byte[]> copy = new ProducerRecord<>(options.text("into"), record.partition(),
                record.timestamp(), record.key(), record.value(), record.headers());
        copy.headers().add("transferred-from", Records.bytes(record.partition() + ":" + record.offset()));
        return copy;
    }
}
