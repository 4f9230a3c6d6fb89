import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeaders;

/** One program of a pipeline: reads, writes, and says in each value which records it comes from. */
final class Pipe {
    private static final Header[] NONE = {};

    private final Options options;
    private final String shape;
    private final String member;
    private final AtomicLong made = new AtomicLong();
    private final AtomicLong finished = new AtomicLong();
    /** Fan-in: the record that waits for the other one of its order. */
    private final Map<String, String> waiting = new ConcurrentHashMap<>();
    private KafkaProducer<byte[], byte[]> producer;
    private String transaction;

    /** What a value says. */
    private record Truth(String id, String order) {
        static Truth of(byte[] value) {
            String json = new String(value, StandardCharsets.UTF_8);
            return new Truth(text(json, "\"id\":\""), text(json, "\"order\":\""));
        }

        private static String text(String json, String before) {
            int start = json.indexOf(before) + before.length();
            return json.substring(start, json.indexOf('"', start));
        }

        long number() {
            return Long.parseLong(order.substring(order.indexOf('-') + 1));
        }
    }

    Pipe(Options options) {
        this.options = options;
        this.shape = options.text("shape");
        this.member = options.text("member", "java");
    }

    void run() throws InterruptedException {
        Properties writes = Settings.common(options);
        String serializer = "org.apache.kafka.common.serialization.ByteArraySerializer";
        writes.put("key.serializer", serializer);
        writes.put("value.serializer", serializer);
        if (shape.equals("transaction")) {
            writes.put("transactional.id", member);
        }
        producer = new KafkaProducer<>(writes);
        if (shape.equals("source")) {
            source();
        } else {
            Thread timer = new Thread(this::timer, "timer");
            if (shape.equals("timer")) {
                timer.start();
            }
            consume();
            timer.join();
        }
        producer.close();
        Out.line("done", "finished", finished.get(), "made", made.get());
    }

    private void source() {
        long keys = options.number("keys", 0);
        for (long i = 0; i < options.number("count", 100); i++) {
            send(options.text("into"), "k-" + (keys > 0 ? i * 7919 % 1_000_003 % keys : i), List.of(), "o-" + i, NONE);
            Pause.milliseconds(options.number("delay-ms", 0));
        }
    }

    private void timer() {
        while (finished.get() < options.number("first", 1)) {
            Pause.milliseconds(1);
        }
        long keys = options.number("keys", 0);
        for (long i = 0; i < options.number("count", 100); i++) {
            String key = keys > 0 ? "k-" + i % keys : options.text("key", null);
            send(options.text("into"), key, List.of(), "t-" + i, NONE);
            Pause.milliseconds(1);
        }
    }

    private void consume() throws InterruptedException {
        Properties reads = Settings.consumer(options);
        reads.put("auto.offset.reset", "earliest");
        boolean commits = options.text("commit", "auto").equals("sync");
        if (commits) {
            reads.put("enable.auto.commit", "false");
        }
        if (shape.equals("transaction")) {
            reads.put("enable.auto.commit", "false");
            reads.put("isolation.level", "read_committed");
            reads.put("max.poll.records", "100");
            producer.initTransactions();
        }
        Stdin stdin = new Stdin();
        List<String> topics = new ArrayList<>(options.all("topic"));
        topics.addAll(options.all("also"));
        topics.addAll(options.all("retry"));
        ExecutorService threads = Executors.newFixedThreadPool((int) options.number("threads", 1));
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(reads)) {
            consumer.subscribe(topics, new Assigned());
            while (finished.get() < options.number("until", Long.MAX_VALUE) && !stdin.leave()) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(50));
                if (shape.equals("transaction")) {
                    transact(consumer, records);
                } else if (shape.equals("batch")) {
                    List<ConsumerRecord<byte[], byte[]>> batch = new ArrayList<>();
                    records.forEach(batch::add);
                    Collections.reverse(batch);
                    batch.forEach(this::handle);
                } else if (options.has("threads")) {
                    records.forEach(record -> threads.submit(() -> handle(record)));
                } else {
                    records.forEach(this::handle);
                }
                if (commits && !records.isEmpty()) {
                    producer.flush();
                    consumer.commitSync();
                }
            }
        } finally {
            threads.shutdown();
        }
    }

    private final class Assigned implements ConsumerRebalanceListener {
        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            Out.line("assigned", "member", member, "partitions", Out.numbers(partitions));
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {}
    }

    private void handle(ConsumerRecord<byte[], byte[]> record) {
        Truth truth = Truth.of(record.value());
        String into = options.text("into");
        String key = record.key() == null ? null : new String(record.key(), StandardCharsets.UTF_8);
        List<String> parents = List.of(truth.id);
        switch (shape) {
            case "fan-out" -> {
                for (long i = 0; i < options.number("fan", 3); i++) {
                    send(into, key, parents, truth.order, NONE);
                }
            }
            case "fan-out-varying" -> {
                for (long i = 0; i <= truth.number() % options.number("fan", 3); i++) {
                    send(into, key, parents, truth.order, NONE);
                }
            }
            case "filter" -> {
                if (truth.number() % options.number("every", 4) != 0) {
                    send(into, key, parents, truth.order, NONE);
                }
            }
            case "rekey" -> send(into, "r-" + truth.id, parents, truth.order, NONE);
            case "null-key" -> send(into, null, parents, truth.order, NONE);
            case "constant-key" -> send(into, options.text("key", "constant"), parents, truth.order, NONE);
            case "correlation" -> {
                Header header = record.headers().lastHeader("correlation-id");
                Header[] copied = header == null ? NONE : new Header[] {header};
                for (long i = 0; i < options.number("fan", 1); i++) {
                    send(into, null, parents, truth.order, copied);
                }
            }
            case "fan-in" -> {
                String other = waiting.remove(truth.order);
                if (other == null) {
                    waiting.put(truth.order, truth.id);
                    return;
                }
                send(into, "j-" + truth.order, List.of(other, truth.id), truth.order, NONE);
            }
            case "dead-letter" -> {
                boolean again = record.topic().equals(options.text("retry"));
                boolean fails = truth.number() % (again ? 20 : 10) == 0;
                if (fails) {
                    fail(record, again ? options.text("dead") : options.text("retry"));
                } else {
                    send(into, key, parents, truth.order, NONE);
                }
                if (fails && !again) {
                    return;
                }
            }
            default -> send(into, key, parents, truth.order, NONE);
        }
        finished.incrementAndGet();
    }

    /** As Spring's DeadLetterPublishingRecoverer: key, value and all headers as they were, and where they came from. */
    private void fail(ConsumerRecord<byte[], byte[]> record, String into) {
        RecordHeaders headers = new RecordHeaders(record.headers().toArray());
        headers.add("kafka_dlt-original-topic", Records.bytes(record.topic()));
        headers.add("kafka_dlt-original-partition", ByteBuffer.allocate(4).putInt(record.partition()).array());
        headers.add("kafka_dlt-original-offset", ByteBuffer.allocate(8).putLong(record.offset()).array());
        producer.send(new ProducerRecord<>(into, null, record.key(), record.value(), headers), Pipe::sent);
        made.incrementAndGet();
    }

    private void transact(KafkaConsumer<byte[], byte[]> consumer, ConsumerRecords<byte[], byte[]> records) {
        if (records.isEmpty()) {
            return;
        }
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        transaction = member + "-" + finished.get();
        producer.beginTransaction();
        for (ConsumerRecord<byte[], byte[]> record : records) {
            offsets.put(new TopicPartition(record.topic(), record.partition()),
                    new OffsetAndMetadata(record.offset() + 1));
            handle(record);
        }
        producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
        producer.commitTransaction();
    }

    private void send(String into, String key, List<String> parents, String order, Header[] headers) {
        Map<String, Object> truth = new HashMap<>();
        truth.put("id", member + "-" + made.incrementAndGet());
        truth.put("parents", parents);
        truth.put("order", order);
        if (transaction != null) {
            truth.put("transaction", transaction);
        }
        byte[] name = key == null ? null : Records.bytes(key);
        byte[] value = Records.bytes(Out.json(truth));
        producer.send(new ProducerRecord<>(into, null, name, value, new RecordHeaders(headers)), Pipe::sent);
    }

    private static void sent(Object metadata, Exception error) {
        if (error != null) {
            Out.error("produce", error);
        }
    }
}
