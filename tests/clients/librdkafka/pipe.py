"""One program of a pipeline: reads, writes, and says in each value which records it comes from."""

import concurrent.futures
import itertools
import json
import struct
import threading
import time

import tool
from confluent_kafka import Consumer, Producer


class Pipe:
    def __init__(self, arguments, settings):
        self.arguments = arguments
        self.shape = arguments.shape
        self.numbers = itertools.count(1)
        self.made = self.finished = 0
        self.lock = threading.Lock()
        self.waiting = {}
        self.transaction = None
        more = {"transactional.id": arguments.member} if self.shape == "transaction" else {}
        self.producer = Producer(settings | more)
        self.settings = settings

    def run(self):
        if self.shape == "source":
            self.source()
        else:
            timer = threading.Thread(target=self.timer)
            if self.shape == "timer":
                timer.start()
            self.consume()
            if self.shape == "timer":
                timer.join()
        self.producer.flush()
        tool.line("done", finished=self.finished, made=self.made)

    def source(self):
        for i in range(self.arguments.count):
            key = i * 7919 % 1_000_003 % self.arguments.keys if self.arguments.keys else i
            self.send(f"k-{key}", [], f"o-{i}")
            time.sleep(self.arguments.delay_ms / 1000)

    def timer(self):
        while self.finished < max(self.arguments.first, 1):
            time.sleep(0.001)
        for i in range(self.arguments.count):
            key = f"k-{i % self.arguments.keys}" if self.arguments.keys else self.arguments.key
            self.send(key, [], f"t-{i}")
            time.sleep(0.001)

    def consume(self):
        settings = self.settings | {"group.id": self.arguments.group, "auto.offset.reset": "earliest"}
        if self.shape == "transaction":
            settings |= {"enable.auto.commit": False, "isolation.level": "read_committed"}
            self.producer.init_transactions()
        leave = tool.Leave()
        consumer = Consumer(settings)
        topics = [self.arguments.topic, self.arguments.also, self.arguments.retry]
        consumer.subscribe([topic for topic in topics if topic], on_assign=self.assigned)
        threads = concurrent.futures.ThreadPoolExecutor(self.arguments.threads)
        while self.finished < self.arguments.until and not leave:
            if self.shape == "batch":
                messages = consumer.consume(500, 0.05)
                messages.reverse()
            elif self.shape == "transaction":
                messages = consumer.consume(100, 0.05)
            else:
                messages = [message for message in [consumer.poll(0.05)] if message]
            for message in messages:
                if message.error() is not None:
                    raise RuntimeError(message.error().str())
            if self.shape == "transaction":
                self.transact(consumer, messages)
            elif self.arguments.threads > 1:
                for message in messages:
                    threads.submit(self.handle, message)
            else:
                for message in messages:
                    self.handle(message)
        threads.shutdown()
        consumer.close()

    def assigned(self, _consumer, partitions):
        tool.line("assigned", member=self.arguments.member, partitions=sorted(p.partition for p in partitions))

    def transact(self, consumer, messages):
        if not messages:
            return
        self.transaction = f"{self.arguments.member}-{self.finished}"
        self.producer.begin_transaction()
        for message in messages:
            self.handle(message)
        positions = consumer.position(consumer.assignment())
        self.producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata())
        self.producer.commit_transaction()

    def handle(self, message):
        truth = json.loads(message.value())
        order, parents, key = truth["order"], [truth["id"]], message.key()
        number = int(order.split("-")[1])
        if self.shape == "fan-out":
            for _ in range(self.arguments.fan or 3):
                self.send(key, parents, order)
        elif self.shape == "fan-out-varying":
            for _ in range(1 + number % (self.arguments.fan or 3)):
                self.send(key, parents, order)
        elif self.shape == "filter":
            if number % self.arguments.every:
                self.send(key, parents, order)
        elif self.shape == "rekey":
            self.send("r-" + truth["id"], parents, order)
        elif self.shape == "null-key":
            self.send(None, parents, order)
        elif self.shape == "constant-key":
            self.send(self.arguments.key or "constant", parents, order)
        elif self.shape == "correlation":
            copied = [pair for pair in message.headers() or [] if pair[0] == "correlation-id"]
            for _ in range(self.arguments.fan or 1):
                self.send(None, parents, order, copied)
        elif self.shape == "fan-in":
            other = self.waiting.pop(order, None)
            if other is None:
                self.waiting[order] = truth["id"]
                return
            self.send("j-" + order, [other, truth["id"]], order)
        elif self.shape == "dead-letter":
            again = message.topic() == self.arguments.retry
            if number % (20 if again else 10) == 0:
                self.fail(message, self.arguments.dead if again else self.arguments.retry)
                if not again:
                    return
            else:
                self.send(key, parents, order)
        else:
            self.send(key, parents, order)
        with self.lock:
            self.finished += 1

    def fail(self, message, into):
        """As Spring's DeadLetterPublishingRecoverer: key, value and all headers as they were, and where they came from."""
        origin = [
            ("kafka_dlt-original-topic", message.topic()),
            ("kafka_dlt-original-partition", struct.pack(">i", message.partition())),
            ("kafka_dlt-original-offset", struct.pack(">q", message.offset())),
        ]
        self.write(into, message.key(), message.value(), (message.headers() or []) + origin)

    def send(self, key, parents, order, headers=None):
        truth = {"id": f"{self.arguments.member}-{next(self.numbers)}", "parents": parents, "order": order}
        if self.transaction:
            truth["transaction"] = self.transaction
        self.write(self.arguments.into, key, json.dumps(truth, separators=(",", ":")), headers or [])

    def write(self, into, key, value, headers):
        while True:
            try:
                self.producer.produce(into, value=value, key=key, headers=headers, on_delivery=delivered)
                break
            except BufferError:
                self.producer.poll(0.05)
        self.producer.poll(0)
        with self.lock:
            self.made += 1


def delivered(error, _message):
    if error is not None:
        tool.error("produce", error.name(), error.str())
