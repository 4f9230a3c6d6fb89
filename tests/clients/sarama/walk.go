package main

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"throughline.test/tool"
)

// walk is seek, pause, resume and commits on partitions that no group assigned. This client seeks by
// opening the partition again at another offset.
type walk struct {
	o        *tool.Options
	client   sarama.Client
	consumer sarama.Consumer
	lock     sync.Mutex
	open     map[int32]sarama.PartitionConsumer
	end      map[int32]int64
	printed  atomic.Int64
}

func newWalk(o *tool.Options) *walk {
	config := settings(o)
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.MaxWaitTime = 50 * time.Millisecond
	client, err := sarama.NewClient(o.Brokers(), config)
	if err != nil {
		tool.Fatal("client", err)
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		tool.Fatal("client", err)
	}
	w := &walk{o: o, client: client, consumer: consumer,
		open: map[int32]sarama.PartitionConsumer{}, end: map[int32]int64{}}
	partitions, err := client.Partitions(o.Topic)
	if err != nil {
		tool.Fatal("walk", err)
	}
	for _, partition := range partitions {
		if w.end[partition], err = client.GetOffset(o.Topic, partition, sarama.OffsetNewest); err != nil {
			tool.Fatal("walk", err)
		}
	}
	return w
}

func (w *walk) run() {
	w.each(func(partition int32, end int64) { w.read(1, partition, 0, min(50, end)) })
	w.seek(0, 20)
	w.partition(0).Pause()
	w.each(func(partition int32, end int64) {
		if partition != 0 {
			w.read(2, partition, 20, min(70, end))
		}
	})
	w.expectNothing(0)
	w.partition(0).Resume()
	w.each(func(partition int32, end int64) {
		if partition == 0 {
			w.take(3, partition, 20, end)
		} else {
			w.read(3, partition, min(70, end), end)
		}
	})
	for _, partition := range w.open {
		partition.AsyncClose()
	}
	w.commits()
	_ = w.client.Close()
	tool.Line("done", map[string]any{"records": w.printed.Load()})
}

// each runs one step on all partitions at once: opening a partition waits for the fetch under way.
func (w *walk) each(step func(partition int32, end int64)) {
	var running sync.WaitGroup
	for partition, end := range w.end {
		running.Go(func() { step(partition, end) })
	}
	running.Wait()
}

func (w *walk) partition(partition int32) sarama.PartitionConsumer {
	w.lock.Lock()
	defer w.lock.Unlock()
	return w.open[partition]
}

func (w *walk) seek(partition int32, offset int64) {
	if open := w.partition(partition); open != nil {
		if err := open.Close(); err != nil {
			tool.Error("seek", code(err), err.Error())
		}
	}
	opened, err := w.consumer.ConsumePartition(w.o.Topic, partition, offset)
	if err != nil {
		tool.Fatal("seek", err)
	}
	w.lock.Lock()
	defer w.lock.Unlock()
	w.open[partition] = opened
}

func (w *walk) read(phase int, partition int32, start, stop int64) {
	w.seek(partition, start)
	w.take(phase, partition, start, stop)
}

// take reads one partition up to its stop; what comes beyond it is dropped by the next seek.
func (w *walk) take(phase int, partition int32, next, stop int64) {
	open := w.partition(partition)
	for next < stop {
		select {
		case message := <-open.Messages():
			next = message.Offset + 1
			if message.Offset < stop {
				show(phase, message)
				w.printed.Add(1)
			}
		case failure := <-open.Errors():
			tool.Error("consume", code(failure.Err), failure.Err.Error())
		}
	}
}

// expectNothing looks whether a paused partition delivered anything meanwhile.
func (w *walk) expectNothing(partition int32) {
	select {
	case <-w.partition(partition).Messages():
		tool.Error("pause", "PAUSED", "a record of a paused partition was delivered")
	default:
	}
}

func (w *walk) commits() {
	nearly := map[int32]int64{}
	for partition, end := range w.end {
		nearly[partition] = max(end-1, 0)
	}
	w.commit("sync", nearly)
	w.commit("async", w.end)
}

// commit goes through the offset manager, the only way this client commits without a group.
func (w *walk) commit(how string, offsets map[int32]int64) {
	manager, err := sarama.NewOffsetManagerFromClient(w.o.Group, w.client)
	if err != nil {
		tool.Fatal("commit", err)
	}
	for partition, offset := range offsets {
		managed, err := manager.ManagePartition(w.o.Topic, partition)
		if err != nil {
			tool.Fatal("commit", err)
		}
		managed.MarkOffset(offset, "")
		if how == "async" {
			managed.AsyncClose()
		}
	}
	manager.Commit()
	_ = manager.Close()
	w.stored(how, offsets)
}

func (w *walk) stored(how string, wanted map[int32]int64) {
	admin, err := sarama.NewClusterAdminFromClient(w.client)
	if err != nil {
		tool.Fatal("commit", err)
	}
	partitions := make([]int32, 0, len(wanted))
	for partition := range wanted {
		partitions = append(partitions, partition)
	}
	offsets := map[int32]int64{}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		answer, err := admin.ListConsumerGroupOffsets(w.o.Group, map[string][]int32{w.o.Topic: partitions})
		if err != nil {
			tool.Fatal("commit", err)
		}
		same := true
		for _, partition := range partitions {
			offsets[partition] = answer.GetBlock(w.o.Topic, partition).Offset
			same = same && offsets[partition] == wanted[partition]
		}
		if same {
			break
		}
	}
	tool.Committed(how, offsets)
}
