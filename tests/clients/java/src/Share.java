import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;

/** One member of a share group (KIP-932). Left out of the build for clients that do not know the API. */
final class Share implements Main.Command {
    private long settled;

    @Override
    public void run(Options options) {
        Stdin stdin = new Stdin();
        long until = options.number("until", Long.MAX_VALUE);
        // Of the records given for the first time, every so many: put back, or turned down for good.
        long release = options.number("release-every", 0);
        long reject = options.number("reject-every", 0);
        // The first records are kept for so long before anything is said of them.
        long keep = options.number("keep-ms", 0);
        boolean explicit = release > 0 || reject > 0;
        Properties properties = Settings.consumer(options);
        if (explicit) {
            properties.put("share.acknowledgement.mode", "explicit");
        }
        try (KafkaShareConsumer<byte[], byte[]> consumer = new KafkaShareConsumer<>(properties)) {
            consumer.subscribe(List.of(options.text("topic")));
            while (settled < until && !stdin.leave()) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(200));
                for (ConsumerRecord<byte[], byte[]> record : records) {
                    Out.record(record, 0);
                    boolean first = record.deliveryCount().orElse((short) 1) == 1;
                    AcknowledgeType type = AcknowledgeType.ACCEPT;
                    if (first && release > 0 && record.offset() % release == 0) {
                        type = AcknowledgeType.RELEASE;
                    } else if (first && reject > 0 && record.offset() % reject == 1) {
                        type = AcknowledgeType.REJECT;
                    }
                    if (explicit) {
                        consumer.acknowledge(record, type);
                    }
                    Out.line("said", "offset", record.offset(), "became", type.toString(),
                            "deliveries", record.deliveryCount().orElse((short) 0));
                    if (type != AcknowledgeType.RELEASE) {
                        settled++;
                    }
                }
                if (!records.isEmpty()) {
                    if (keep > 0) {
                        Pause.milliseconds(keep);
                    }
                    long late = keep > 0 ? records.count() : 0;
                    keep = 0;
                    consumer.commitSync().forEach((partition, error) -> error.ifPresentOrElse(
                            cause -> Out.line("refused", "partition", partition.partition()),
                            () -> Out.line("acknowledged", "partition", partition.partition())));
                    settled -= late;
                }
            }
        } catch (RuntimeException error) {
            Out.error("share", error);
        }
        Out.line("done", "records", settled);
    }
}
