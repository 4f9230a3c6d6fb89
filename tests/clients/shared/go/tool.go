// Package tool holds what both Go programs share: the command line, the records of a run, and the
// JSON lines. tests/clients/README.md is the specification.
package tool

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const baseTimestampMs = 1_700_000_000_000

// Options is the command line.
type Options struct {
	Command                             string
	Bootstrap, Topic, Group, Member     string
	ClientID, Compression, Acks, Commit string
	TransactionalID, Isolation          string
	GroupProtocol, BrokerVersion        string
	TLSCa, TLSCert, TLSKey              string
	SaslMechanism, Username, Password   string
	Partitions, ValueBytes, DelayMs     int
	Count, First, Until, HoldEvery      int64
	TransactionRecords, AbortEvery      int64
	SessionTimeoutMs                    int
	Idempotent, Now, NoHeaders          bool
	Shape, Into, Also, Retry, Dead, Key string
	Fan, Every, Threads, Keys           int64
}

// Parse reads the command and its flags.
func Parse() *Options {
	if len(os.Args) < 2 {
		Fatal("arguments", errors.New("a command is missing"))
	}
	o := &Options{Command: os.Args[1]}
	flags := flag.NewFlagSet(o.Command, flag.ExitOnError)
	texts := map[string]*string{
		"bootstrap": &o.Bootstrap, "topic": &o.Topic, "group": &o.Group, "client-id": &o.ClientID,
		"transactional-id": &o.TransactionalID, "isolation": &o.Isolation, "tls-ca": &o.TLSCa,
		"tls-cert": &o.TLSCert, "tls-key": &o.TLSKey, "sasl-mechanism": &o.SaslMechanism,
		"username": &o.Username, "password": &o.Password, "broker-version": &o.BrokerVersion,
		"shape": &o.Shape, "into": &o.Into, "also": &o.Also, "retry": &o.Retry, "dead": &o.Dead, "key": &o.Key,
	}
	for name, value := range texts {
		flags.StringVar(value, name, "", "")
	}
	flags.StringVar(&o.Member, "member", "member", "")
	flags.StringVar(&o.Compression, "compression", "none", "")
	flags.StringVar(&o.Acks, "acks", "all", "")
	flags.StringVar(&o.Commit, "commit", "sync", "")
	flags.StringVar(&o.GroupProtocol, "group-protocol", "classic", "")
	flags.IntVar(&o.Partitions, "partitions", 6, "")
	flags.IntVar(&o.ValueBytes, "value-bytes", 100, "")
	flags.IntVar(&o.DelayMs, "delay-ms", 0, "")
	flags.Int64Var(&o.HoldEvery, "hold-every", 0, "")
	flags.IntVar(&o.SessionTimeoutMs, "session-timeout-ms", 10_000, "")
	flags.Int64Var(&o.Count, "count", 100, "")
	flags.Int64Var(&o.First, "first", 0, "")
	flags.Int64Var(&o.Until, "until", math.MaxInt64, "")
	flags.Int64Var(&o.TransactionRecords, "transaction-records", 100, "")
	flags.Int64Var(&o.AbortEvery, "abort-every", 0, "")
	flags.Int64Var(&o.Fan, "fan", 0, "")
	flags.Int64Var(&o.Every, "every", 4, "")
	flags.Int64Var(&o.Threads, "threads", 1, "")
	flags.Int64Var(&o.Keys, "keys", 0, "")
	flags.BoolVar(&o.Idempotent, "idempotent", false, "")
	flags.BoolVar(&o.Now, "now", false, "")
	flags.BoolVar(&o.NoHeaders, "no-headers", false, "")
	_ = flags.Parse(os.Args[2:])
	if o.ClientID == "" {
		o.ClientID = o.Member
	}
	return o
}

// Brokers is the bootstrap list.
func (o *Options) Brokers() []string { return strings.Split(o.Bootstrap, ",") }

// SessionTimeout is how long the group waits for a silent member.
func (o *Options) SessionTimeout() time.Duration {
	return time.Duration(o.SessionTimeoutMs) * time.Millisecond
}

// Heartbeat is a tenth of the session timeout.
func (o *Options) Heartbeat() time.Duration {
	return max(o.SessionTimeout()/10, 50*time.Millisecond)
}

// Delay waits as long as the pace of the producer asks for.
func (o *Options) Delay() {
	if o.DelayMs > 0 {
		time.Sleep(time.Duration(o.DelayMs) * time.Millisecond)
	}
}

// TLS is the client configuration, or nil for plaintext.
func (o *Options) TLS() *tls.Config {
	if o.TLSCa == "" {
		return nil
	}
	authority, err := os.ReadFile(o.TLSCa)
	if err != nil {
		Fatal("tls-ca", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if o.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(o.TLSCert, o.TLSKey)
		if err != nil {
			Fatal("tls-cert", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config
}

// Transaction is a run of records that is committed or aborted as one.
type Transaction struct {
	First, End int64
	Abort      bool
}

// Transactions cuts the run into transactions.
func (o *Options) Transactions() []Transaction {
	var cut []Transaction
	end := o.First + o.Count
	for first := o.First; first < end; first += o.TransactionRecords {
		number := int64(len(cut) + 1)
		abort := o.AbortEvery > 0 && number%o.AbortEvery == 0
		cut = append(cut, Transaction{first, min(first+o.TransactionRecords, end), abort})
	}
	return cut
}

// Header is one name and value; a nil value is Kafka's null.
type Header struct {
	Name  string
	Value []byte
}

// Record is record number I of a run.
type Record struct {
	I           int64
	Partition   int32
	Key, Value  []byte
	Headers     []Header
	TimestampMs int64
}

// Record builds record number i.
func (o *Options) Record(i int64) Record {
	record := Record{I: i, Partition: int32(i % int64(o.Partitions)), TimestampMs: baseTimestampMs + i}
	if o.Now {
		record.TimestampMs = time.Now().UnixMilli()
	}
	if i%10 != 0 {
		record.Key = fmt.Appendf(nil, "key-%d", i)
	}
	if i%17 != 0 {
		record.Value = value(i, o.ValueBytes)
	}
	if o.NoHeaders {
		return record
	}
	record.Headers = []Header{{"seq", strconv.AppendInt(nil, i, 10)}}
	if i%3 == 0 {
		record.Headers = append(record.Headers,
			Header{"dup", fmt.Appendf(nil, "first-%d", i)}, Header{"dup", fmt.Appendf(nil, "second-%d", i)})
	}
	if i%5 == 0 {
		record.Headers = append(record.Headers, Header{"bin", []byte{0x00, 0xff, 0xfe, 0x80}}, Header{"nil", nil})
	}
	return record
}

func value(i int64, length int) []byte {
	value := make([]byte, length)
	for j := range value {
		value[j] = byte('a' + (i+int64(j))%26)
	}
	copy(value, fmt.Appendf(nil, "value-%d-", i))
	return value
}

var output sync.Mutex

// Line prints one JSON line, whole, whichever goroutine calls. Bytes become base64, nil bytes null.
func Line(kind string, fields map[string]any) {
	line := map[string]any{"type": kind}
	for name, value := range fields {
		line[name] = value
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(line); err != nil {
		panic(err)
	}
	output.Lock()
	defer output.Unlock()
	_, _ = os.Stdout.Write(text.Bytes())
}

// Error prints an error line.
func Error(where string, code any, message string) {
	Line("error", map[string]any{"where": where, "code": fmt.Sprint(code), "message": message})
}

// Fatal prints an error line and ends the program.
func Fatal(where string, err error) {
	Error(where, "FATAL", err.Error())
	os.Exit(1)
}

// Show prints a record that was consumed.
func Show(phase int, partition int32, offset int64, key, value []byte, headers []Header, timestampMs int64) {
	pairs := make([][2]any, 0, len(headers))
	for _, header := range headers {
		pairs = append(pairs, [2]any{header.Name, header.Value})
	}
	Line("record", map[string]any{
		"phase": phase, "partition": partition, "offset": offset, "key": key, "value": value,
		"headers": pairs, "timestamp": timestampMs,
	})
}

// Partitions prints an assignment or a revocation.
func Partitions(kind, member string, partitions []int32) {
	sorted := append([]int32{}, partitions...)
	slices.Sort(sorted)
	Line(kind, map[string]any{"member": member, "partitions": sorted})
}

// Committed prints offsets that the group now holds.
func Committed(how string, offsets map[int32]int64) {
	Line("committed", map[string]any{"how": how, "offsets": offsets})
}

// Tally counts what the broker acknowledged.
type Tally struct{ acked, failed, bytes atomic.Int64 }

// Ack prints and counts one acknowledged record; offset -1 where the broker does not answer.
func (t *Tally) Ack(record Record, partition int32, offset int64) {
	t.acked.Add(1)
	t.bytes.Add(int64(len(record.Key) + len(record.Value)))
	Line("ack", map[string]any{"i": record.I, "partition": partition, "offset": offset})
}

// Fail prints and counts one record that was refused.
func (t *Tally) Fail(where string, code any, message string) {
	t.failed.Add(1)
	Error(where, code, message)
}

// Done prints the totals.
func (t *Tally) Done() {
	Line("done", map[string]any{"acked": t.acked.Load(), "failed": t.failed.Load(), "bytes": t.bytes.Load()})
}

// Leave is closed when the word `leave`, or the end of the input, arrives on standard input.
func Leave() <-chan struct{} {
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			if strings.TrimSpace(lines.Text()) == "leave" {
				return
			}
		}
	}()
	return asked
}
