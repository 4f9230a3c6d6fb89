import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Writes the records of a run, in one order, plain or in transactions. */
final class Produce {
    private final Options options;
    private final AtomicLong acked = new AtomicLong();
    private final AtomicLong failed = new AtomicLong();
    private final AtomicLong bytes = new AtomicLong();
    private final BufferedReader stdin = new BufferedReader(new InputStreamReader(System.in));

    Produce(Options options) {
        this.options = options;
    }

    void run() {
        try (Producer<byte[], byte[]> producer = new KafkaProducer<>(Settings.producer(options))) {
            if (options.has("transactional-id")) {
                transactions(producer);
            } else {
                send(producer, first(), end());
                producer.flush();
            }
        }
        Out.line("done", "acked", acked.get(), "failed", failed.get(), "bytes", bytes.get());
    }

    private long first() {
        return options.number("first", 0);
    }

    private long end() {
        return first() + options.number("count", 100);
    }

    private void transactions(Producer<byte[], byte[]> producer) {
        producer.initTransactions();
        long size = options.number("transaction-records", 100);
        long abortEvery = options.number("abort-every", 0);
        long number = 0;
        for (long from = first(); from < end(); from += size) {
            number++;
            long to = Math.min(from + size, end());
            producer.beginTransaction();
            send(producer, from, to);
            // An abort drops what is still buffered: flush, so that every run leaves the same offsets.
            producer.flush();
            boolean abort = abortEvery > 0 && number % abortEvery == 0;
            if (abort) {
                producer.abortTransaction();
            } else {
                producer.commitTransaction();
            }
            Out.line("transaction", "first", from, "end", to, "outcome", abort ? "aborted" : "committed");
        }
    }

    private void send(Producer<byte[], byte[]> producer, long from, long to) {
        long delay = options.number("delay-ms", 0);
        long holdEvery = options.number("hold-every", 0);
        for (long i = from; i < to; i++) {
            send(producer, i);
            if (delay > 0) {
                Pause.milliseconds(delay);
            }
            if (holdEvery > 0 && (i + 1) % holdEvery == 0) {
                producer.flush();
                hold();
            }
        }
    }

    /** Until the next line of standard input, or its end. */
    private void hold() {
        try {
            stdin.readLine();
        } catch (IOException error) {
            Out.error("stdin", error);
        }
    }

    private void send(Producer<byte[], byte[]> producer, long i) {
        ProducerRecord<byte[], byte[]> record = Records.record(options, i);
        int size = (record.key() == null ? 0 : record.key().length) + (record.value() == null ? 0 : record.value().length);
        try {
            producer.send(record, (metadata, error) -> {
                if (error != null) {
                    failed.incrementAndGet();
                    Out.error("produce", error);
                    return;
                }
                acked.incrementAndGet();
                bytes.addAndGet(size);
                Out.line("ack", "i", i, "partition", metadata.partition(), "offset", metadata.offset());
            });
        } catch (RuntimeException error) {
            failed.incrementAndGet();
            Out.error("send", error);
        }
    }
}
