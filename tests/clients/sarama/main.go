// Command client is sarama as a test program (see tests/clients/README.md).
package main

import (
	"context"
	"errors"
	"log"
	"os"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
	"throughline.test/tool"
)

func main() {
	sarama.Logger = log.New(os.Stderr, "", log.Ltime)
	options := tool.Parse()
	switch options.Command {
	case "produce":
		produce(options)
	case "consume":
		consume(options)
	case "walk":
		newWalk(options).run()
	default:
		tool.Fatal("arguments", errors.New("unknown command "+options.Command))
	}
}

func settings(o *tool.Options) *sarama.Config {
	config := sarama.NewConfig()
	config.ClientID = o.ClientID
	config.Version = sarama.MaxVersion
	if o.BrokerVersion != "" {
		version, err := sarama.ParseKafkaVersion(o.BrokerVersion)
		if err != nil {
			tool.Fatal("arguments", err)
		}
		config.Version = version
	}
	if tls := o.TLS(); tls != nil {
		config.Net.TLS.Enable = true
		config.Net.TLS.Config = tls
	}
	if o.SaslMechanism != "" {
		config.Net.SASL.Enable = true
		config.Net.SASL.Mechanism = sarama.SASLMechanism(o.SaslMechanism)
		config.Net.SASL.User = o.Username
		config.Net.SASL.Password = o.Password
		config.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &login{} }
	}
	config.Consumer.Return.Errors = true
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	if o.Isolation == "read_committed" {
		config.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	return config
}

// login is the SCRAM conversation, which this client leaves to its user.
type login struct{ conversation *scram.ClientConversation }

func (l *login) Begin(username, password, authorization string) error {
	client, err := scram.SHA256.NewClient(username, password, authorization)
	if err == nil {
		l.conversation = client.NewConversation()
	}
	return err
}

func (l *login) Step(challenge string) (string, error) { return l.conversation.Step(challenge) }

func (l *login) Done() bool { return l.conversation.Done() }

func code(err error) string {
	var known sarama.KError
	if errors.As(err, &known) {
		return known.Error()
	}
	return "CLIENT"
}

func produce(o *tool.Options) {
	config := settings(o)
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Return.Successes = true
	config.Producer.Flush.Frequency = 5 * time.Millisecond
	config.Producer.RequiredAcks = map[string]sarama.RequiredAcks{
		"0": sarama.NoResponse, "1": sarama.WaitForLocal, "all": sarama.WaitForAll,
	}[o.Acks]
	if err := config.Producer.Compression.UnmarshalText([]byte(o.Compression)); err != nil {
		tool.Fatal("arguments", err)
	}
	if o.Idempotent || o.TransactionalID != "" {
		config.Producer.Idempotent = true
		config.Producer.Transaction.ID = o.TransactionalID
		config.Net.MaxOpenRequests = 1
	}
	producer, err := sarama.NewAsyncProducer(o.Brokers(), config)
	if err != nil {
		tool.Fatal("client", err)
	}
	run := &production{o: o, producer: producer, tally: &tool.Tally{}}
	done := make(chan struct{})
	go run.answers(done)
	if o.TransactionalID == "" {
		run.send(o.First, o.First+o.Count)
	} else {
		for _, transaction := range o.Transactions() {
			run.transact(transaction)
		}
	}
	producer.AsyncClose()
	<-done
	run.tally.Done()
}

type production struct {
	o        *tool.Options
	producer sarama.AsyncProducer
	tally    *tool.Tally
	pending  sync.WaitGroup
}

func (p *production) answers(done chan<- struct{}) {
	defer close(done)
	successes, failures := p.producer.Successes(), p.producer.Errors()
	for successes != nil || failures != nil {
		select {
		case message, open := <-successes:
			if !open {
				successes = nil
				continue
			}
			offset := message.Offset
			if p.o.Acks == "0" {
				offset = -1
			}
			p.tally.Ack(message.Metadata.(tool.Record), message.Partition, offset)
			p.pending.Done()
		case failure, open := <-failures:
			if !open {
				failures = nil
				continue
			}
			p.tally.Fail("produce", code(failure.Err), failure.Err.Error())
			p.pending.Done()
		}
	}
}

func (p *production) send(first, end int64) {
	for i := first; i < end; i++ {
		record := p.o.Record(i)
		message := &sarama.ProducerMessage{
			Topic: p.o.Topic, Partition: record.Partition, Metadata: record,
			Timestamp: time.UnixMilli(record.TimestampMs),
		}
		// An encoder around nil bytes would be an empty string on the wire, not a null.
		if record.Key != nil {
			message.Key = sarama.ByteEncoder(record.Key)
		}
		if record.Value != nil {
			message.Value = sarama.ByteEncoder(record.Value)
		}
		for _, header := range record.Headers {
			message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Name), Value: header.Value})
		}
		p.pending.Add(1)
		p.producer.Input() <- message
		p.o.Delay()
	}
	p.pending.Wait()
}

func (p *production) transact(transaction tool.Transaction) {
	if err := p.producer.BeginTxn(); err != nil {
		tool.Fatal("transaction", err)
	}
	p.send(transaction.First, transaction.End)
	end, outcome := p.producer.CommitTxn, "committed"
	if transaction.Abort {
		end, outcome = p.producer.AbortTxn, "aborted"
	}
	if err := end(); err != nil {
		tool.Error("transaction", code(err), err.Error())
		return
	}
	tool.Line("transaction", map[string]any{"first": transaction.First, "end": transaction.End, "outcome": outcome})
}

func consume(o *tool.Options) {
	config := settings(o)
	config.Consumer.Group.Session.Timeout = o.SessionTimeout()
	config.Consumer.Group.Heartbeat.Interval = o.Heartbeat()
	config.Consumer.Offsets.AutoCommit.Enable = o.Commit == "auto"
	config.Consumer.Offsets.AutoCommit.Interval = 500 * time.Millisecond
	leave := tool.Leave()
	group, err := sarama.NewConsumerGroup(o.Brokers(), o.Group, config)
	if err != nil {
		tool.Fatal("client", err)
	}
	member := &member{o: o, full: make(chan struct{})}
	running, stop := context.WithCancel(context.Background())
	go func() {
		select {
		case <-leave:
		case <-member.full:
		}
		stop()
	}()
	go func() {
		for failure := range group.Errors() {
			tool.Error("consume", code(failure), failure.Error())
		}
	}()
	for running.Err() == nil {
		if err := group.Consume(running, []string{o.Topic}, member); err != nil && running.Err() == nil {
			tool.Error("consume", code(err), err.Error())
		}
	}
	if err := group.Close(); err != nil {
		tool.Error("close", code(err), err.Error())
	}
	tool.Line("done", map[string]any{"records": member.seen})
}

// member handles the claims of one consumer; claims run at the same time.
type member struct {
	o    *tool.Options
	lock sync.Mutex
	seen int64
	full chan struct{}
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	tool.Partitions("assigned", m.o.Member, session.Claims()[m.o.Topic])
	return nil
}

func (m *member) Cleanup(session sarama.ConsumerGroupSession) error {
	tool.Partitions("revoked", m.o.Member, session.Claims()[m.o.Topic])
	return nil
}

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case <-session.Context().Done():
			return nil
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			last := m.take(session, message)
			for len(claim.Messages()) > 0 {
				last = m.take(session, <-claim.Messages())
			}
			m.commit(session, last)
		}
	}
}

func (m *member) take(session sarama.ConsumerGroupSession, message *sarama.ConsumerMessage) *sarama.ConsumerMessage {
	show(0, message)
	session.MarkMessage(message, "")
	m.lock.Lock()
	defer m.lock.Unlock()
	m.seen++
	if m.seen == m.o.Until {
		close(m.full)
	}
	return message
}

// commit is synchronous in this client, whichever way was asked for; `async` moves it to a goroutine.
func (m *member) commit(session sarama.ConsumerGroupSession, last *sarama.ConsumerMessage) {
	if m.o.Commit == "auto" {
		return
	}
	store := func() {
		session.Commit()
		tool.Committed(m.o.Commit, map[int32]int64{last.Partition: last.Offset + 1})
	}
	if m.o.Commit == "sync" {
		store()
	} else {
		go store()
	}
}

func show(phase int, message *sarama.ConsumerMessage) {
	headers := make([]tool.Header, 0, len(message.Headers))
	for _, header := range message.Headers {
		headers = append(headers, tool.Header{Name: string(header.Key), Value: header.Value})
	}
	tool.Show(phase, message.Partition, message.Offset, message.Key, message.Value, headers, message.Timestamp.UnixMilli())
}
