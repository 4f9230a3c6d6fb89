"""librdkafka, through confluent-kafka, as a test program (see tests/clients/README.md)."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "shared" / "python"))

import pipe  # noqa: E402
import tool  # noqa: E402
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition  # noqa: E402


def settings(arguments):
    values = {
        "bootstrap.servers": arguments.bootstrap,
        "client.id": arguments.client_id or arguments.member,
        "error_cb": lambda error: tool.error("client", error.name(), error.str()),
    }
    tls, sasl = arguments.tls_ca, arguments.sasl_mechanism
    values["security.protocol"] = ("sasl_" if sasl else "") + (
        "ssl" if tls else "plaintext"
    )
    if tls:
        values["ssl.ca.location"] = arguments.tls_ca
    if arguments.tls_cert:
        values["ssl.certificate.location"] = arguments.tls_cert
        values["ssl.key.location"] = arguments.tls_key
    if sasl:
        values["sasl.mechanism"] = sasl
        values["sasl.username"] = arguments.username
        values["sasl.password"] = arguments.password
    values.update(item.split("=", 1) for item in arguments.property)
    return values


def produce(arguments):
    values = settings(arguments)
    values["acks"] = arguments.acks
    values["compression.type"] = arguments.compression or "none"
    values["enable.idempotence"] = bool(arguments.idempotent or arguments.transactional_id)
    values["linger.ms"] = 5
    if arguments.transactional_id:
        values["transactional.id"] = arguments.transactional_id
    producer = Producer(values)
    tally = tool.Tally()
    if arguments.transactional_id:
        producer.init_transactions()
        for first, end, abort in tool.transactions(arguments):
            producer.begin_transaction()
            send(producer, arguments, tally, first, end)
            producer.abort_transaction() if abort else producer.commit_transaction()
            tool.line("transaction", first=first, end=end, outcome="aborted" if abort else "committed")
    else:
        send(producer, arguments, tally, arguments.first, arguments.first + arguments.count)
    tally.done()


def send(producer, arguments, tally, first, end):
    for i in range(first, end):
        key, value = tool.key(i), tool.value(i, arguments.value_bytes)

        def delivered(error, message, i=i, size=len(key or b"") + len(value or b"")):
            if error is not None:
                tally.fail("produce", error.name(), error.str())
            else:
                offset = message.offset()
                tally.ack(i, message.partition(), -1 if offset is None or offset < 0 else offset, size)

        while True:
            try:
                producer.produce(
                    arguments.topic,
                    value=value,
                    key=key,
                    partition=i % arguments.partitions,
                    timestamp=tool.timestamp(i, arguments),
                    headers=tool.headers(i, arguments),
                    on_delivery=delivered,
                )
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(arguments.delay_ms / 1000)
        if arguments.hold_every and (i + 1) % arguments.hold_every == 0:
            producer.flush()
            sys.stdin.readline()
    producer.flush()


def consume(arguments):
    values = settings(arguments)
    values |= {
        "group.id": arguments.group,
        "auto.offset.reset": "earliest",
        "on_commit": lambda error, offsets: on_commit(arguments, error, offsets),
    }
    if not arguments.defaults:
        values |= {
            "enable.auto.commit": arguments.commit == "auto",
            "auto.commit.interval.ms": 500,
            "isolation.level": arguments.isolation or "read_uncommitted",
        }
    if arguments.group_protocol == "consumer":
        # The broker owns the session timeout of this protocol; a client that sets it is refused.
        values["group.protocol"] = "consumer"
    elif not arguments.defaults:
        values["session.timeout.ms"] = arguments.session_timeout_ms
        values["heartbeat.interval.ms"] = max(arguments.session_timeout_ms // 10, 50)
    leave = tool.Leave()
    consumer = Consumer(values)

    def report(kind):
        def callback(_consumer, partitions):
            tool.line(kind, member=arguments.member, partitions=sorted(p.partition for p in partitions))

        return callback

    consumer.subscribe([arguments.topic], on_assign=report("assigned"), on_revoke=report("revoked"))
    seen = 0
    while seen < arguments.until and not leave:
        seen += step(consumer, arguments)
    consumer.close()
    tool.line("done", records=seen)


def step(consumer, arguments):
    offsets = {}
    messages = consumer.consume(500, 0.1)
    for message in messages:
        if message.error() is not None:
            tool.error("consume", message.error().name(), message.error().str())
            continue
        show(message)
        offsets[message.partition()] = message.offset() + 1
    if offsets and arguments.commit != "auto" and not arguments.defaults:
        positions = [TopicPartition(arguments.topic, p, offsets[p]) for p in offsets]
        try:
            consumer.commit(offsets=positions, asynchronous=arguments.commit == "async")
            if arguments.commit == "sync":
                tool.committed("sync", offsets)
        except KafkaException as failure:
            tool.error("commit", failure.args[0].name(), failure.args[0].str())
    return sum(1 for message in messages if message.error() is None)


def on_commit(arguments, error, offsets):
    # _NO_OFFSET is librdkafka's word for an automatic commit that found nothing new.
    if error is not None and error.name() != "_NO_OFFSET":
        tool.error("commit", error.name(), error.str())
    elif error is None and arguments.commit == "async":
        tool.committed("async", {p.partition: p.offset for p in offsets})


def show(message, phase=0):
    tool.record(
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        message.headers(),
        message.timestamp()[1],
        phase,
    )


class Walk:
    """Seek, pause, resume and commits on partitions that no group assigned."""

    def __init__(self, arguments):
        values = settings(arguments)
        values |= {
            "group.id": arguments.group,
            "enable.auto.commit": False,
            "enable.partition.eof": False,
            "auto.offset.reset": "earliest",
        }
        self.topic = arguments.topic
        self.consumer = Consumer(values)
        self.printed = 0

    def at(self, partition, offset):
        return TopicPartition(self.topic, partition, offset)

    def run(self):
        partitions = sorted(self.consumer.list_topics(self.topic).topics[self.topic].partitions)
        end = {p: self.consumer.get_watermark_offsets(self.at(p, 0))[1] for p in partitions}
        others = [p for p in partitions if p != 0]
        self.consumer.assign([self.at(p, 0) for p in partitions])
        self.read(1, dict.fromkeys(partitions, 0), {p: min(50, end[p]) for p in partitions}, seek=False)
        self.consumer.pause([self.at(0, 0)])
        self.read(2, dict.fromkeys(others, 20), {p: min(70, end[p]) for p in others})
        self.consumer.resume([self.at(0, 0)])
        self.read(3, {p: min(70 if p else 20, end[p]) for p in partitions}, end)
        self.commits(end)
        self.consumer.close()
        tool.line("done", records=self.printed)

    def read(self, phase, start, stop, seek=True):
        """Reads each partition up to its stop; what comes beyond it is dropped and read again later."""
        if seek:
            for partition, offset in start.items():
                self.consumer.seek(self.at(partition, offset))
        still_open = {p for p in stop if start[p] < stop[p]}
        while still_open:
            for message in self.consumer.consume(500, 0.1):
                if message.error() is not None:
                    tool.error("consume", message.error().name(), message.error().str())
                elif message.partition() not in stop:
                    tool.error("pause", "PAUSED", "a record of a paused partition was delivered")
                elif message.offset() < stop[message.partition()]:
                    show(message, phase)
                    self.printed += 1
            # The position moves past control records too, which are never delivered.
            for position in self.consumer.position([self.at(p, 0) for p in still_open]):
                if position.offset >= stop[position.partition]:
                    still_open.discard(position.partition)

    def commits(self, end):
        self.consumer.commit(offsets=[self.at(p, max(end[p] - 1, 0)) for p in end], asynchronous=False)
        tool.committed("sync", self.stored(end))
        self.consumer.commit(offsets=[self.at(p, end[p]) for p in end], asynchronous=True)
        while self.stored(end) != end:
            self.consumer.poll(0.05)
        tool.committed("async", self.stored(end))

    def stored(self, end):
        answer = self.consumer.committed([self.at(p, 0) for p in end])
        return {position.partition: position.offset for position in answer}


def main():
    arguments = tool.arguments()
    if arguments.command == "walk":
        Walk(arguments).run()
    else:
        commands = {"produce": produce, "consume": consume, "pipe": lambda a: pipe.Pipe(a, settings(a)).run()}
        commands[arguments.command](arguments)


if __name__ == "__main__":
    main()
