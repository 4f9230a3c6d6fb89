import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MutableRecordBatch;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.requests.ProduceRequest;

/** Decodes the batches in a file with Kafka's own classes, one line each, and checks them as a broker checks a Produce. */
final class Decode implements Main.Command {
    private static final short PRODUCE_VERSION = 12;
    private static final int PREFIX_BYTES = 12;
    private static final int LENGTH_AT = 8;

    @Override
    public void run(Options options) {
        ByteBuffer file = ByteBuffer.wrap(read(options.text("file")));
        while (file.hasRemaining()) {
            int length = PREFIX_BYTES + file.getInt(file.position() + LENGTH_AT);
            ByteBuffer one = file.slice(file.position(), length);
            file.position(file.position() + length);
            MemoryRecords records = MemoryRecords.readableRecords(one);
            ProduceRequest.validateRecords(PRODUCE_VERSION, records);
            for (MutableRecordBatch batch : records.batches()) {
                batch.ensureValid();
                print(batch);
            }
        }
        Out.line("done");
    }

    private static byte[] read(String path) {
        try {
            return Files.readAllBytes(Path.of(path));
        } catch (java.io.IOException error) {
            throw new java.io.UncheckedIOException(error);
        }
    }

    private static void print(MutableRecordBatch batch) {
        List<Object> records = new ArrayList<>();
        for (Record record : batch) {
            record.ensureValid();
            List<Object> headers = new ArrayList<>();
            for (Header header : record.headers()) {
                headers.add(new Out.Raw("[" + Out.json(header.key()) + "," + Out.json(header.value()) + "]"));
            }
            records.add(new Out.Raw("[" + record.offset() + "," + record.timestamp() + "," + record.sequence() + ","
                    + Out.json(bytes(record.key())) + "," + Out.json(bytes(record.value())) + ","
                    + Out.json(headers) + "]"));
        }
        Out.line("batch", "base", batch.baseOffset(), "last", batch.lastOffset(), "epoch", batch.partitionLeaderEpoch(),
                "producer", batch.producerId(), "producerEpoch", batch.producerEpoch(), "sequence", batch.baseSequence(),
                "codec", batch.compressionType().name, "times", batch.timestampType().name, "max", batch.maxTimestamp(),
                "transactional", batch.isTransactional(), "horizon", String.valueOf(batch.deleteHorizonMs()),
                "count", batch.countOrNull(), "records", records);
    }

    private static byte[] bytes(ByteBuffer buffer) {
        if (buffer == null) {
            return null;
        }
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return bytes;
    }
}
