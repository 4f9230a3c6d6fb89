// Command client is franz-go as a test program (see tests/clients/README.md).
package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"throughline.test/tool"
)

func main() {
	options := tool.Parse()
	switch options.Command {
	case "produce":
		produce(options)
	case "consume":
		consume(options)
	case "pipe":
		newPipe(options).run()
	case "walk":
		newWalk(options).run()
	default:
		tool.Fatal("arguments", errors.New("unknown command "+options.Command))
	}
}

func client(o *tool.Options, more ...kgo.Opt) *kgo.Client {
	settings := []kgo.Opt{
		kgo.SeedBrokers(o.Brokers()...),
		kgo.ClientID(o.ClientID),
		kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelWarn, nil)),
	}
	if config := o.TLS(); config != nil {
		settings = append(settings, kgo.DialTLSConfig(config))
	}
	switch o.SaslMechanism {
	case "PLAIN":
		settings = append(settings, kgo.SASL(plain.Auth{User: o.Username, Pass: o.Password}.AsMechanism()))
	case "SCRAM-SHA-256":
		settings = append(settings, kgo.SASL(scram.Auth{User: o.Username, Pass: o.Password}.AsSha256Mechanism()))
	}
	created, err := kgo.NewClient(append(settings, more...)...)
	if err != nil {
		tool.Fatal("client", err)
	}
	return created
}

func code(err error) string {
	var known *kerr.Error
	if errors.As(err, &known) {
		return known.Message
	}
	return "CLIENT"
}

func produce(o *tool.Options) {
	settings := []kgo.Opt{
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.AllowAutoTopicCreation(),
		kgo.ProducerBatchCompression(codec(o.Compression)),
		kgo.ProducerLinger(5 * time.Millisecond),
		kgo.RequiredAcks(map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}[o.Acks]),
	}
	if o.TransactionalID != "" {
		settings = append(settings, kgo.TransactionalID(o.TransactionalID))
	} else if !o.Idempotent {
		settings = append(settings, kgo.DisableIdempotentWrite())
	}
	producer := client(o, settings...)
	tally := &tool.Tally{}
	if o.TransactionalID == "" {
		send(producer, o, tally, o.First, o.First+o.Count)
	} else {
		for _, transaction := range o.Transactions() {
			transact(producer, o, tally, transaction)
		}
	}
	producer.Close()
	tally.Done()
}

func codec(name string) kgo.CompressionCodec {
	return map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[name]
}

func send(producer *kgo.Client, o *tool.Options, tally *tool.Tally, first, end int64) {
	stdin := bufio.NewReader(os.Stdin)
	flush := func() {
		if err := producer.Flush(context.Background()); err != nil {
			tool.Error("flush", code(err), err.Error())
		}
	}
	for i := first; i < end; i++ {
		record := o.Record(i)
		headers := make([]kgo.RecordHeader, 0, len(record.Headers))
		for _, header := range record.Headers {
			headers = append(headers, kgo.RecordHeader{Key: header.Name, Value: header.Value})
		}
		message := &kgo.Record{
			Topic: o.Topic, Partition: record.Partition, Key: record.Key, Value: record.Value,
			Headers: headers, Timestamp: time.UnixMilli(record.TimestampMs),
		}
		producer.Produce(context.Background(), message, func(done *kgo.Record, err error) {
			if err != nil {
				tally.Fail("produce", code(err), err.Error())
			} else if o.Acks == "0" {
				tally.Ack(record, done.Partition, -1)
			} else {
				tally.Ack(record, done.Partition, done.Offset)
			}
		})
		o.Delay()
		if o.HoldEvery > 0 && (i+1)%o.HoldEvery == 0 {
			flush()
			// Until the next line, or the end of the input.
			_, _ = stdin.ReadString('\n')
		}
	}
	flush()
}

func transact(producer *kgo.Client, o *tool.Options, tally *tool.Tally, transaction tool.Transaction) {
	if err := producer.BeginTransaction(); err != nil {
		tool.Fatal("transaction", err)
	}
	send(producer, o, tally, transaction.First, transaction.End)
	end, outcome := kgo.TryCommit, "committed"
	if transaction.Abort {
		end, outcome = kgo.TryAbort, "aborted"
	}
	if err := producer.EndTransaction(context.Background(), end); err != nil {
		tool.Error("transaction", code(err), err.Error())
		return
	}
	tool.Line("transaction", map[string]any{"first": transaction.First, "end": transaction.End, "outcome": outcome})
}

func isolation(o *tool.Options) kgo.Opt {
	if o.Isolation == "read_committed" {
		return kgo.FetchIsolationLevel(kgo.ReadCommitted())
	}
	return kgo.FetchIsolationLevel(kgo.ReadUncommitted())
}

func report(kind string, o *tool.Options) func(context.Context, *kgo.Client, map[string][]int32) {
	return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
		tool.Partitions(kind, o.Member, partitions[o.Topic])
	}
}

func consume(o *tool.Options) {
	settings := []kgo.Opt{
		kgo.ConsumerGroup(o.Group),
		kgo.ConsumeTopics(o.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(report("assigned", o)),
		kgo.OnPartitionsRevoked(report("revoked", o)),
		kgo.OnPartitionsLost(report("revoked", o)),
		isolation(o),
	}
	if o.GroupProtocol == "consumer" {
		settings = append(settings, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	} else {
		settings = append(settings, kgo.SessionTimeout(o.SessionTimeout()), kgo.HeartbeatInterval(o.Heartbeat()))
	}
	if o.Commit == "auto" {
		settings = append(settings, kgo.AutoCommitInterval(500*time.Millisecond))
	} else {
		settings = append(settings, kgo.DisableAutoCommit())
	}
	leave := tool.Leave()
	consumer := client(o, settings...)
	var seen int64
	for seen < o.Until {
		select {
		case <-leave:
			o.Until = seen
			continue
		default:
		}
		seen += step(consumer, o)
	}
	if o.Commit == "auto" {
		if err := consumer.CommitUncommittedOffsets(context.Background()); err != nil {
			tool.Error("commit", code(err), err.Error())
		}
	}
	answers.Wait()
	consumer.Close()
	tool.Line("done", map[string]any{"records": seen})
}

// answers counts the commits that the broker has not answered yet: closing the client drops them.
var answers sync.WaitGroup

func poll(consumer *kgo.Client) kgo.Fetches {
	deadline, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	fetches := consumer.PollFetches(deadline)
	fetches.EachError(func(_ string, _ int32, err error) {
		if !errors.Is(err, context.DeadlineExceeded) {
			tool.Error("consume", code(err), err.Error())
		}
	})
	return fetches
}

func step(consumer *kgo.Client, o *tool.Options) int64 {
	var seen int64
	offsets := map[int32]int64{}
	poll(consumer).EachRecord(func(record *kgo.Record) {
		show(0, record)
		offsets[record.Partition] = record.Offset + 1
		seen++
	})
	if len(offsets) > 0 && o.Commit != "auto" {
		commit(consumer, o, offsets)
	}
	return seen
}

func commit(consumer *kgo.Client, o *tool.Options, offsets map[int32]int64) {
	positions := map[int32]kgo.EpochOffset{}
	for partition, offset := range offsets {
		positions[partition] = kgo.EpochOffset{Epoch: -1, Offset: offset}
	}
	answers.Add(1)
	onDone := func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
		defer answers.Done()
		if err == nil {
			err = refusal(answer)
		}
		if err != nil {
			tool.Error("commit", code(err), err.Error())
		} else {
			tool.Committed(o.Commit, offsets)
		}
	}
	all := map[string]map[int32]kgo.EpochOffset{o.Topic: positions}
	if o.Commit == "sync" {
		consumer.CommitOffsetsSync(context.Background(), all, onDone)
	} else {
		consumer.CommitOffsets(context.Background(), all, onDone)
	}
}

func refusal(answer *kmsg.OffsetCommitResponse) error {
	for _, topic := range answer.Topics {
		for _, partition := range topic.Partitions {
			if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

func show(phase int, record *kgo.Record) {
	headers := make([]tool.Header, 0, len(record.Headers))
	for _, header := range record.Headers {
		headers = append(headers, tool.Header{Name: header.Key, Value: header.Value})
	}
	tool.Show(phase, record.Partition, record.Offset, record.Key, record.Value, headers, record.Timestamp.UnixMilli())
}

// walk is seek, pause, resume and commits on partitions that no group assigned.
type walk struct {
	o        *tool.Options
	consumer *kgo.Client
	admin    *kadm.Client
	end      map[int32]int64
	next     map[int32]int64
	printed  int64
}

func newWalk(o *tool.Options) *walk {
	lookup := kadm.NewClient(client(o))
	defer lookup.Close()
	listed, err := lookup.ListEndOffsets(context.Background(), o.Topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		tool.Fatal("walk", err)
	}
	w := &walk{o: o, end: map[int32]int64{}, next: map[int32]int64{}}
	starts := map[int32]kgo.Offset{}
	listed.Each(func(offset kadm.ListedOffset) {
		w.end[offset.Partition] = offset.Offset
		starts[offset.Partition] = kgo.NewOffset().At(0)
	})
	w.consumer = client(o, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{o.Topic: starts}), isolation(o))
	w.admin = kadm.NewClient(w.consumer)
	return w
}

func (w *walk) run() {
	zero := map[string][]int32{w.o.Topic: {0}}
	stop := map[int32]int64{}
	for partition, end := range w.end {
		stop[partition] = min(50, end)
	}
	w.read(1, stop)
	w.consumer.PauseFetchPartitions(zero)
	stop = map[int32]int64{}
	for partition, end := range w.end {
		w.next[partition] = 20
		if partition != 0 {
			stop[partition] = min(70, end)
		}
	}
	w.seek()
	w.read(2, stop)
	w.consumer.ResumeFetchPartitions(zero)
	w.seek()
	w.read(3, w.end)
	w.commits()
	w.consumer.Close()
	tool.Line("done", map[string]any{"records": w.printed})
}

func (w *walk) seek() {
	offsets := map[int32]kgo.EpochOffset{}
	for partition, offset := range w.next {
		offsets[partition] = kgo.EpochOffset{Epoch: -1, Offset: offset}
	}
	w.consumer.SetOffsets(map[string]map[int32]kgo.EpochOffset{w.o.Topic: offsets})
}

// read goes on in each partition up to its stop; what comes beyond is dropped and read again later.
func (w *walk) read(phase int, stop map[int32]int64) {
	open := func() bool {
		for partition, offset := range stop {
			if w.next[partition] < offset {
				return true
			}
		}
		return false
	}
	for open() {
		poll(w.consumer).EachRecord(func(record *kgo.Record) {
			last, wanted := stop[record.Partition]
			if !wanted {
				tool.Error("pause", "PAUSED", "a record of a paused partition was delivered")
			} else if record.Offset < last && record.Offset >= w.next[record.Partition] {
				show(phase, record)
				w.next[record.Partition] = record.Offset + 1
				w.printed++
			}
		})
	}
}

func (w *walk) commits() {
	nearly := map[int32]int64{}
	for partition, end := range w.end {
		nearly[partition] = max(end-1, 0)
	}
	w.store(nearly)
	w.stored("sync")
	answered := make(chan struct{})
	go func() {
		w.store(w.end)
		close(answered)
	}()
	<-answered
	w.stored("async")
}

func (w *walk) store(offsets map[int32]int64) {
	request := kadm.Offsets{}
	for partition, offset := range offsets {
		request.AddOffset(w.o.Topic, partition, offset, -1)
	}
	if err := w.admin.CommitAllOffsets(context.Background(), w.o.Group, request); err != nil {
		tool.Error("commit", code(err), err.Error())
	}
}

func (w *walk) stored(how string) {
	answer, err := w.admin.FetchOffsets(context.Background(), w.o.Group)
	if err != nil {
		tool.Error("commit", code(err), err.Error())
		return
	}
	offsets := map[int32]int64{}
	answer.Each(func(offset kadm.OffsetResponse) { offsets[offset.Partition] = offset.At })
	tool.Committed(how, offsets)
}
