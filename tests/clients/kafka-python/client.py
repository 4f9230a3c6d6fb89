"""kafka-python as a test program (see tests/clients/README.md)."""

import logging
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "shared" / "python"))

import tool  # noqa: E402
from kafka import (  # noqa: E402
    ConsumerRebalanceListener,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    TopicPartition,
)
from kafka.errors import KafkaError  # noqa: E402


def settings(arguments):
    values = {
        "bootstrap_servers": arguments.bootstrap.split(","),
        "client_id": arguments.client_id or arguments.member,
    }
    tls, sasl = arguments.tls_ca, arguments.sasl_mechanism
    values["security_protocol"] = ("SASL_" if sasl else "") + ("SSL" if tls else "PLAINTEXT")
    if tls:
        values["ssl_cafile"] = arguments.tls_ca
    if arguments.tls_cert:
        values["ssl_certfile"] = arguments.tls_cert
        values["ssl_keyfile"] = arguments.tls_key
    if sasl:
        values["sasl_mechanism"] = sasl
        values["sasl_plain_username"] = arguments.username
        values["sasl_plain_password"] = arguments.password
    if arguments.api_version:
        values["api_version"] = tuple(int(part) for part in arguments.api_version.split("."))
    return values


def code(failure):
    return type(failure).__name__


def produce(arguments):
    values = settings(arguments)
    idempotent = bool(arguments.idempotent or arguments.transactional_id)
    values |= {
        "acks": "all" if arguments.acks == "all" else int(arguments.acks),
        "enable_idempotence": idempotent,
        "linger_ms": 5,
    }
    if arguments.compression and arguments.compression != "none":
        values["compression_type"] = arguments.compression
    if arguments.transactional_id:
        values["transactional_id"] = arguments.transactional_id
    if not idempotent:
        # Retries would reorder otherwise, and this client says so with a warning.
        values["max_in_flight_requests_per_connection"] = 1
    producer = KafkaProducer(**values)
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
    producer.close()
    tally.done()


def send(producer, arguments, tally, first, end):
    for i in range(first, end):
        key, value = tool.key(i), tool.value(i, arguments.value_bytes)
        if key is None and value is None:
            # This client refuses a record with neither.
            value = b""
        try:
            future = producer.send(
                arguments.topic,
                value=value,
                key=key,
                # It refuses a header without a value as well.
                headers=[pair for pair in tool.headers(i, arguments) if pair[1] is not None],
                partition=i % arguments.partitions,
                timestamp_ms=tool.timestamp(i, arguments),
            )
        except KafkaError as failure:
            tally.fail("send", code(failure), failure)
            continue
        size = len(key or b"") + len(value or b"")
        future.add_callback(lambda done, i=i, size=size: tally.ack(i, done.partition, done.offset, size))
        future.add_errback(lambda failure: tally.fail("produce", code(failure), failure))
        if arguments.delay_ms:
            time.sleep(arguments.delay_ms / 1000)
    producer.flush()


class Rebalances(ConsumerRebalanceListener):
    def __init__(self, member):
        self.member = member

    def on_partitions_assigned(self, assigned):
        self.report("assigned", assigned)

    def on_partitions_revoked(self, revoked):
        self.report("revoked", revoked)

    def report(self, kind, partitions):
        tool.line(kind, member=self.member, partitions=sorted(p.partition for p in partitions))


def consume(arguments):
    values = settings(arguments)
    values |= {
        "group_id": arguments.group,
        "auto_offset_reset": "earliest",
    }
    if not arguments.defaults:
        values |= {
            "enable_auto_commit": arguments.commit == "auto",
            "auto_commit_interval_ms": 500,
            "session_timeout_ms": arguments.session_timeout_ms,
            "heartbeat_interval_ms": max(arguments.session_timeout_ms // 10, 50),
            "isolation_level": arguments.isolation or "read_uncommitted",
        }
    leave = tool.Leave()
    consumer = KafkaConsumer(**values)
    consumer.subscribe([arguments.topic], listener=Rebalances(arguments.member))
    seen = 0
    while seen < arguments.until and not leave:
        seen += step(consumer, arguments)
    consumer.close()
    tool.line("done", records=seen)


def step(consumer, arguments):
    coordinator = consumer._coordinator
    if coordinator.rejoining:
        # A join that outlasts a poll is otherwise forgotten where new metadata was its cause (see tests/clients/README.md).
        coordinator.request_rejoin()
    try:
        batches = consumer.poll(timeout_ms=100)
    except KafkaError as failure:
        tool.error("consume", code(failure), failure)
        return 0
    offsets = {}
    for partition, messages in batches.items():
        for message in messages:
            show(message)
        offsets[partition] = OffsetAndMetadata(messages[-1].offset + 1, "", -1)
    if offsets and not arguments.defaults:
        commit(consumer, arguments.commit, offsets)
    return sum(len(messages) for messages in batches.values())


def numbers(offsets):
    return {partition.partition: position.offset for partition, position in offsets.items()}


def commit(consumer, how, offsets):
    if how == "sync":
        try:
            consumer.commit(offsets)
            tool.committed("sync", numbers(offsets))
        except KafkaError as failure:
            tool.error("commit", code(failure), failure)
    elif how == "async":
        consumer.commit_async(offsets, callback=on_commit)


def on_commit(offsets, answer):
    if isinstance(answer, Exception):
        tool.error("commit", code(answer), answer)
    else:
        tool.committed("async", numbers(offsets))


def show(message, phase=0):
    tool.record(
        message.partition,
        message.offset,
        message.key,
        message.value,
        message.headers,
        message.timestamp,
        phase,
    )


class Walk:
    """Seek, pause, resume and commits on partitions that no group assigned."""

    def __init__(self, arguments):
        values = settings(arguments)
        values |= {"group_id": arguments.group, "enable_auto_commit": False}
        self.topic = arguments.topic
        self.consumer = KafkaConsumer(**values)
        self.printed = 0

    def run(self):
        every = [TopicPartition(self.topic, p) for p in sorted(self.consumer.partitions_for_topic(self.topic))]
        end = self.consumer.end_offsets(every)
        zero, others = every[0], every[1:]
        self.consumer.assign(every)
        self.read(1, dict.fromkeys(every, 0), {p: min(50, end[p]) for p in every})
        self.consumer.pause(zero)
        self.read(2, dict.fromkeys(others, 20), {p: min(70, end[p]) for p in others})
        self.consumer.resume(zero)
        self.read(3, {p: min(20 if p == zero else 70, end[p]) for p in every}, end)
        self.commits(end)
        self.consumer.close()
        tool.line("done", records=self.printed)

    def read(self, phase, start, stop):
        """Reads each partition up to its stop; what comes beyond it is dropped and read again later."""
        for partition, offset in start.items():
            self.consumer.seek(partition, offset)
        still_open = {p for p in stop if start[p] < stop[p]}
        while still_open:
            for partition, messages in self.consumer.poll(timeout_ms=100).items():
                self.take(phase, partition, messages, stop)
            # The position moves past control records too, which are never delivered.
            still_open = {p for p in still_open if self.consumer.position(p) < stop[p]}

    def take(self, phase, partition, messages, stop):
        if partition not in stop:
            tool.error("pause", "PAUSED", "a record of a paused partition was delivered")
            return
        for message in messages:
            if message.offset < stop[partition]:
                show(message, phase)
                self.printed += 1

    def commits(self, end):
        self.consumer.commit({p: OffsetAndMetadata(max(o - 1, 0), "", -1) for p, o in end.items()})
        tool.committed("sync", self.stored(end))
        answers = []
        self.consumer.commit_async(
            {p: OffsetAndMetadata(o, "", -1) for p, o in end.items()},
            callback=lambda _offsets, answer: answers.append(answer),
        )
        while not answers:
            self.consumer.poll(timeout_ms=50)
        if isinstance(answers[0], Exception):
            tool.error("commit", code(answers[0]), answers[0])
        tool.committed("async", self.stored(end))

    def stored(self, end):
        return {p.partition: self.consumer.committed(p) for p in end}


def main():
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    arguments = tool.arguments()
    if arguments.command == "walk":
        Walk(arguments).run()
    else:
        {"produce": produce, "consume": consume}[arguments.command](arguments)


if __name__ == "__main__":
    main()
