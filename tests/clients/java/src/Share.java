import java.time.Duration;
import java.util.List;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;

/** One member of a share group (KIP-932). Left out of the build for clients that do not know the API. */
final class Share implements Main.Command {
    @Override
    public void run(Options options) {
        Stdin stdin = new Stdin();
        long until = options.number("until", Long.MAX_VALUE);
        long seen = 0;
        try (KafkaShareConsumer<byte[], byte[]> consumer = new KafkaShareConsumer<>(Settings.consumer(options))) {
            consumer.subscribe(List.of(options.text("topic")));
            while (seen < until && !stdin.leave()) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(200));
                for (ConsumerRecord<byte[], byte[]> record : records) {
                    Out.record(record, 0);
                }
                seen += records.count();
                if (!records.isEmpty()) {
                    consumer.commitSync().forEach((partition, error) -> error.ifPresentOrElse(
                            cause -> Out.error("acknowledge", cause),
                            () -> Out.line("acknowledged", "partition", partition.partition())));
                }
            }
        } catch (RuntimeException error) {
            Out.error("share", error);
        }
        Out.line("done", "records", seen);
    }
}
