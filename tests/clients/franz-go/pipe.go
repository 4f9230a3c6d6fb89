package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"throughline.test/tool"
)

// truth is what a value says: which record it is, and which ones it comes from.
type truth struct {
	ID          string   `json:"id"`
	Parents     []string `json:"parents"`
	Order       string   `json:"order"`
	Transaction string   `json:"transaction,omitempty"`
}

func (t truth) number() int64 {
	_, number, _ := strings.Cut(t.Order, "-")
	parsed, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		tool.Fatal("value", err)
	}
	return parsed
}

// pipe is one program of a pipeline: it reads, writes, and says in each value which records it comes from.
type pipe struct {
	o              *tool.Options
	client         *kgo.Client
	made, finished atomic.Int64
	// waiting holds, for a fan-in, the record that waits for the other one of its order.
	waiting     map[string]string
	transaction string
}

func newPipe(o *tool.Options) *pipe {
	return &pipe{o: o, waiting: map[string]string{}}
}

func (p *pipe) run() {
	switch p.o.Shape {
	case "source":
		p.client = client(p.o)
		p.source()
	case "transaction":
		p.transact()
	default:
		p.client = client(p.o, p.reads()...)
		var timer sync.WaitGroup
		if p.o.Shape == "timer" {
			timer.Go(p.timer)
		}
		p.consume()
		timer.Wait()
	}
	if err := p.client.Flush(context.Background()); err != nil {
		tool.Error("flush", code(err), err.Error())
	}
	p.client.Close()
	tool.Line("done", map[string]any{"finished": p.finished.Load(), "made": p.made.Load()})
}

func (p *pipe) reads() []kgo.Opt {
	topics := slices.DeleteFunc([]string{p.o.Topic, p.o.Also, p.o.Retry}, func(t string) bool { return t == "" })
	return []kgo.Opt{
		kgo.ConsumerGroup(p.o.Group),
		kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(report("assigned", p.o)),
	}
}

func (p *pipe) source() {
	for i := range p.o.Count {
		key := i
		if p.o.Keys > 0 {
			key = i * 7919 % 1_000_003 % p.o.Keys
		}
		p.send(fmt.Appendf(nil, "k-%d", key), nil, fmt.Sprintf("o-%d", i))
		p.o.Delay()
	}
}

func (p *pipe) timer() {
	for p.finished.Load() < max(p.o.First, 1) {
		time.Sleep(time.Millisecond)
	}
	for i := range p.o.Count {
		var key []byte
		if p.o.Keys > 0 {
			key = fmt.Appendf(nil, "k-%d", i%p.o.Keys)
		} else if p.o.Key != "" {
			key = []byte(p.o.Key)
		}
		p.send(key, nil, fmt.Sprintf("t-%d", i))
		time.Sleep(time.Millisecond)
	}
}

func (p *pipe) consume() {
	leave := tool.Leave()
	work := make(chan *kgo.Record)
	var workers sync.WaitGroup
	if p.o.Threads > 1 {
		for range p.o.Threads {
			workers.Go(func() {
				for record := range work {
					p.handle(record)
				}
			})
		}
	}
	for p.finished.Load() < p.o.Until {
		select {
		case <-leave:
			p.o.Until = 0
			continue
		default:
		}
		records := poll(p.client).Records()
		if p.o.Shape == "batch" {
			slices.Reverse(records)
		}
		for _, record := range records {
			if p.o.Threads > 1 {
				work <- record
			} else {
				p.handle(record)
			}
		}
	}
	close(work)
	workers.Wait()
}

func (p *pipe) transact() {
	settings := append(p.reads(),
		kgo.SeedBrokers(p.o.Brokers()...), kgo.ClientID(p.o.ClientID), kgo.TransactionalID(p.o.Member),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RequireStableFetchOffsets())
	session, err := kgo.NewGroupTransactSession(settings...)
	if err != nil {
		tool.Fatal("session", err)
	}
	p.client = session.Client()
	leave := tool.Leave()
	for p.finished.Load() < p.o.Until {
		select {
		case <-leave:
			return
		default:
		}
		deadline, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		records := session.PollRecords(deadline, 100).Records()
		cancel()
		if len(records) == 0 {
			continue
		}
		if err := session.Begin(); err != nil {
			tool.Fatal("begin", err)
		}
		p.transaction = fmt.Sprintf("%s-%d", p.o.Member, p.finished.Load())
		for _, record := range records {
			p.handle(record)
		}
		if committed, err := session.End(context.Background(), kgo.TryCommit); err != nil || !committed {
			tool.Fatal("end", fmt.Errorf("committed: %v, %w", committed, err))
		}
	}
}

func (p *pipe) handle(record *kgo.Record) {
	var from truth
	if err := json.Unmarshal(record.Value, &from); err != nil {
		tool.Fatal("value", err)
	}
	parents := []string{from.ID}
	switch p.o.Shape {
	case "fan-out":
		for range max(p.o.Fan, 3) {
			p.send(record.Key, parents, from.Order)
		}
	case "fan-out-varying":
		for range 1 + from.number()%max(p.o.Fan, 3) {
			p.send(record.Key, parents, from.Order)
		}
	case "filter":
		if from.number()%p.o.Every != 0 {
			p.send(record.Key, parents, from.Order)
		}
	case "rekey":
		p.send([]byte("r-"+from.ID), parents, from.Order)
	case "null-key":
		p.send(nil, parents, from.Order)
	case "constant-key":
		key := p.o.Key
		if key == "" {
			key = "constant"
		}
		p.send([]byte(key), parents, from.Order)
	case "correlation":
		var copied []kgo.RecordHeader
		for _, header := range record.Headers {
			if header.Key == "correlation-id" {
				copied = append(copied, header)
			}
		}
		for range max(p.o.Fan, 1) {
			p.send(nil, parents, from.Order, copied...)
		}
	case "fan-in":
		other, known := p.waiting[from.Order]
		if !known {
			p.waiting[from.Order] = from.ID
			return
		}
		delete(p.waiting, from.Order)
		p.send([]byte("j-"+from.Order), []string{other, from.ID}, from.Order)
	case "dead-letter":
		switch {
		case record.Topic == p.o.Retry && from.number()%20 == 0:
			p.fail(record, p.o.Dead)
		case record.Topic != p.o.Retry && from.number()%10 == 0:
			p.fail(record, p.o.Retry)
			return
		default:
			p.send(record.Key, parents, from.Order)
		}
	default:
		p.send(record.Key, parents, from.Order)
	}
	p.finished.Add(1)
}

// fail does as Spring's DeadLetterPublishingRecoverer: key, value and all headers as they were, and where they came from.
func (p *pipe) fail(record *kgo.Record, into string) {
	headers := append(slices.Clone(record.Headers),
		kgo.RecordHeader{Key: "kafka_dlt-original-topic", Value: []byte(record.Topic)},
		kgo.RecordHeader{Key: "kafka_dlt-original-partition", Value: binary.BigEndian.AppendUint32(nil, uint32(record.Partition))},
		kgo.RecordHeader{Key: "kafka_dlt-original-offset", Value: binary.BigEndian.AppendUint64(nil, uint64(record.Offset))})
	p.made.Add(1)
	p.write(&kgo.Record{Topic: into, Key: record.Key, Value: record.Value, Headers: headers})
}

func (p *pipe) send(key []byte, parents []string, order string, headers ...kgo.RecordHeader) {
	if parents == nil {
		parents = []string{}
	}
	id := fmt.Sprintf("%s-%d", p.o.Member, p.made.Add(1))
	value, err := json.Marshal(truth{id, parents, order, p.transaction})
	if err != nil {
		tool.Fatal("value", err)
	}
	p.write(&kgo.Record{Topic: p.o.Into, Key: key, Value: value, Headers: headers})
}

func (p *pipe) write(record *kgo.Record) {
	p.client.Produce(context.Background(), record, func(_ *kgo.Record, err error) {
		if err != nil {
			tool.Error("produce", code(err), err.Error())
		}
	})
}
