// kafkajs as a test program (see tests/clients/README.md).
//
// The client has no manual assignment: `walk` is a group of one member that seeks, pauses and
// resumes. It compresses with gzip only, and its encoder refuses a header without a value.
'use strict'

const fs = require('fs')
const readline = require('readline')
const { Kafka, CompressionTypes, logLevel } = require('kafkajs')

const BASE_TIMESTAMP_MS = 1700000000000

function parse (words) {
  const options = { command: words[0] }
  for (let i = 1; i < words.length; i++) {
    const hasValue = i + 1 < words.length && !words[i + 1].startsWith('--')
    options[words[i].slice(2)] = hasValue ? words[++i] : 'true'
  }
  return options
}

const options = parse(process.argv.slice(2))
const number = (name, otherwise) => options[name] === undefined ? otherwise : Number(options[name])
const line = (type, fields) => fs.writeSync(1, JSON.stringify({ type, ...fields }) + '\n')
const error = (where, cause) =>
  line('error', { where, code: cause.type || cause.name, message: String(cause.message) })
const base64 = value => value === null || value === undefined ? null : Buffer.from(value).toString('base64')
const later = (ms) => new Promise(resolve => setTimeout(resolve, ms))

function kafka () {
  const settings = {
    clientId: options['client-id'] || options.member || 'kafkajs',
    brokers: options.bootstrap.split(','),
    logLevel: logLevel.WARN,
    logCreator: () => entry => process.stderr.write(JSON.stringify(entry.log) + '\n')
  }
  if (options['tls-ca']) {
    settings.ssl = { ca: [fs.readFileSync(options['tls-ca'])] }
    if (options['tls-cert']) {
      settings.ssl.cert = fs.readFileSync(options['tls-cert'])
      settings.ssl.key = fs.readFileSync(options['tls-key'])
    }
  }
  if (options['sasl-mechanism']) {
    const { username, password } = options
    settings.sasl = { mechanism: options['sasl-mechanism'].toLowerCase(), username, password }
  }
  return new Kafka(settings)
}

function message (i) {
  const headers = { seq: String(i) }
  if (i % 3 === 0) headers.dup = [`first-${i}`, `second-${i}`]
  if (i % 5 === 0) headers.bin = Buffer.from([0x00, 0xff, 0xfe, 0x80])
  return {
    partition: i % number('partitions', 6),
    timestamp: String(options.now ? Date.now() : BASE_TIMESTAMP_MS + i),
    key: i % 10 === 0 ? null : `key-${i}`,
    value: i % 17 === 0 ? null : value(i, number('value-bytes', 100)),
    headers: options['no-headers'] ? undefined : headers
  }
}

function value (i, length) {
  const bytes = Buffer.alloc(length)
  for (let j = 0; j < length; j++) bytes[j] = 97 + (i + j) % 26
  bytes.write(`value-${i}-`, 0, 'latin1')
  return bytes
}

const tally = { acked: 0, failed: 0, bytes: 0 }

async function send (target, first, end) {
  // One send per chunk: the client answers with the base offset of each partition in it.
  const chunk = options['delay-ms'] ? 1 : 200
  for (let from = first; from < end; from += chunk) {
    const numbers = Array.from({ length: Math.min(chunk, end - from) }, (_, j) => from + j)
    await sendChunk(target, numbers)
    if (options['delay-ms']) await later(number('delay-ms'))
  }
}

async function sendChunk (target, numbers) {
  const messages = numbers.map(message)
  const acks = options.acks === undefined || options.acks === 'all' ? -1 : Number(options.acks)
  const compression = options.compression === 'gzip' ? CompressionTypes.GZIP : CompressionTypes.None
  try {
    const answers = await target.send({ topic: options.topic, acks, compression, messages })
    const next = {}
    for (const answer of answers || []) next[answer.partition] = Number(answer.baseOffset)
    numbers.forEach((i, j) => {
      const { partition, key, value } = messages[j]
      const offset = next[partition] === undefined || next[partition] < 0 ? -1 : next[partition]++
      tally.acked++
      tally.bytes += (key ? key.length : 0) + (value ? value.length : 0)
      line('ack', { i, partition, offset })
    })
  } catch (failure) {
    tally.failed += numbers.length
    error('produce', failure)
  }
}

async function produce () {
  const transactionalId = options['transactional-id']
  const producer = kafka().producer({
    idempotent: Boolean(options.idempotent || transactionalId),
    transactionalId,
    maxInFlightRequests: options.idempotent || transactionalId ? 1 : undefined,
    allowAutoTopicCreation: true
  })
  await producer.connect()
  const first = number('first', 0)
  const end = first + number('count', 100)
  if (transactionalId) {
    await transactions(producer, first, end)
  } else {
    await send(producer, first, end)
  }
  await producer.disconnect()
  line('done', tally)
}

async function transactions (producer, first, end) {
  const size = number('transaction-records', 100)
  const abortEvery = number('abort-every', 0)
  for (let from = first, count = 1; from < end; from += size, count++) {
    const to = Math.min(from + size, end)
    const transaction = await producer.transaction()
    await send(transaction, from, to)
    const abort = abortEvery > 0 && count % abortEvery === 0
    await (abort ? transaction.abort() : transaction.commit())
    line('transaction', { first: from, end: to, outcome: abort ? 'aborted' : 'committed' })
  }
}

function show (partition, message, phase = 0) {
  const headers = []
  for (const [name, content] of Object.entries(message.headers || {})) {
    for (const one of Array.isArray(content) ? content : [content]) headers.push([name, base64(one)])
  }
  line('record', {
    phase,
    partition,
    offset: Number(message.offset),
    key: base64(message.key),
    value: base64(message.value),
    headers,
    timestamp: Number(message.timestamp)
  })
}

function consumer () {
  const session = number('session-timeout-ms', 10000)
  const created = kafka().consumer({
    groupId: options.group,
    sessionTimeout: session,
    heartbeatInterval: Math.max(session / 10, 50),
    // The default of 5 s makes this client wait for data longer than a test wants to.
    maxWaitTimeInMs: 200,
    readUncommitted: options.isolation !== 'read_committed'
  })
  const member = options.member || 'kafkajs'
  let held = []
  created.on(created.events.GROUP_JOIN, ({ payload }) => {
    held = (payload.memberAssignment[options.topic] || []).slice().sort((a, b) => a - b)
    line('assigned', { member, partitions: held })
  })
  created.on(created.events.REBALANCING, () => line('revoked', { member, partitions: held }))
  created.on(created.events.CRASH, ({ payload }) => error('consume', payload.error))
  return created
}

async function commit (client, how, offsets) {
  const list = Object.entries(offsets).map(([partition, offset]) =>
    ({ topic: options.topic, partition: Number(partition), offset: String(offset) }))
  try {
    await client.commitOffsets(list)
    line('committed', { how, offsets })
  } catch (failure) {
    error('commit', failure)
  }
}

async function consume () {
  const client = consumer()
  const until = number('until', Infinity)
  const pending = []
  let seen = 0
  let finish
  const finished = new Promise(resolve => { finish = resolve })
  readline.createInterface({ input: process.stdin })
    .on('line', text => { if (text.trim() === 'leave') finish() })
    .on('close', () => finish())
  await client.connect()
  await client.subscribe({ topics: [options.topic], fromBeginning: true })
  await client.run({
    autoCommit: options.commit === 'auto',
    autoCommitInterval: 500,
    eachBatch: async ({ batch }) => {
      for (const one of batch.messages) show(batch.partition, one)
      seen += batch.messages.length
      const offsets = { [batch.partition]: Number(batch.lastOffset()) + 1 }
      if (options.commit === 'async') {
        pending.push(commit(client, 'async', offsets))
      } else if (options.commit !== 'auto') {
        await commit(client, 'sync', offsets)
      }
      if (seen >= until) finish()
    }
  })
  await finished
  await Promise.all(pending)
  await client.disconnect()
  line('done', { records: seen })
}

class Walk {
  constructor (client, end) {
    this.client = client
    this.end = end
    this.partitions = Object.keys(end).map(Number)
    this.next = {}
    this.stop = {}
    this.phase = 0
    this.printed = 0
    this.finished = new Promise(resolve => { this.finish = resolve })
  }

  // Reads each partition up to its stop; what comes beyond it is dropped and read again later.
  begin (phase, partitions, from, stop) {
    this.phase = phase
    this.stop = {}
    for (const partition of partitions) {
      this.stop[partition] = Math.min(stop(partition), this.end[partition])
      this.next[partition] = from(partition)
      this.client.seek({ topic: options.topic, partition, offset: String(from(partition)) })
    }
  }

  take (batch, isStale) {
    if (this.stop[batch.partition] === undefined) {
      error('pause', { name: 'PAUSED', message: 'a record of a paused partition was delivered' })
      return
    }
    for (const one of batch.messages) {
      if (isStale()) return
      const offset = Number(one.offset)
      if (offset >= this.next[batch.partition] && offset < this.stop[batch.partition]) {
        show(batch.partition, one, this.phase)
        this.next[batch.partition] = offset + 1
        this.printed++
      }
    }
    if (Object.keys(this.stop).every(partition => this.next[partition] >= this.stop[partition])) {
      this.advance()
    }
  }

  advance () {
    const zero = [{ topic: options.topic, partitions: [0] }]
    if (this.phase === 1) {
      this.client.pause(zero)
      this.begin(2, this.partitions.filter(partition => partition !== 0), () => 20, () => 70)
    } else if (this.phase === 2) {
      this.client.resume(zero)
      this.begin(3, this.partitions, partition => partition === 0 ? 20 : 70, () => Infinity)
    } else {
      this.phase = 4
      this.finish()
    }
  }
}

async function walk () {
  const admin = kafka().admin()
  await admin.connect()
  const end = {}
  for (const { partition, high } of await admin.fetchTopicOffsets(options.topic)) end[partition] = Number(high)
  const client = consumer()
  await client.connect()
  await client.subscribe({ topics: [options.topic], fromBeginning: true })
  const state = new Walk(client, end)
  await client.run({
    autoCommit: false,
    eachBatch: async ({ batch, isStale }) => { if (!isStale() && state.phase < 4) state.take(batch, isStale) }
  })
  state.begin(1, state.partitions, () => 0, () => 50)
  await state.finished
  const nearly = Object.fromEntries(Object.entries(end).map(([p, offset]) => [p, Math.max(offset - 1, 0)]))
  await commits(client, admin, 'sync', nearly)
  await commits(client, admin, 'async', end)
  await client.disconnect()
  await admin.disconnect()
  line('done', { records: state.printed })
}

async function commits (client, admin, how, offsets) {
  const list = Object.entries(offsets).map(([partition, offset]) =>
    ({ topic: options.topic, partition: Number(partition), offset: String(offset) }))
  await client.commitOffsets(list)
  const [stored] = await admin.fetchOffsets({ groupId: options.group, topics: [options.topic] })
  const read = stored.partitions.map(({ partition, offset }) => [partition, Number(offset)])
  line('committed', { how, offsets: Object.fromEntries(read.sort((a, b) => a[0] - b[0])) })
}

const commands = { produce, consume, walk }
commands[options.command]().then(() => process.exit(0), failure => {
  error(options.command, failure)
  process.exit(1)
})
