import type * as tf from '@tensorflow/tfjs';
import {asLoRAError, ioError, LoRAError, messageOf, show, unsupportedError} from '../../platform/errors';
import {throwIfAborted} from '../../platform/signals';
import type {Metadata} from './calls';
import {FlowerNode, Refusal, type Reply, Unreachable} from './flower';
import {createNodeKey, type NodeKey} from './nodeKey';
import {type ConfigValue, type Metrics, opened, readRecords, writeRecords} from './records';
import type {SharedTensors} from './sharedTensors';
import {Departure, Left, pause, whenAborted} from './waiting';

/** What the server asks for in a round. */
export interface FederatedRound {
  /** The number of the round on the server, from 1. */
  round: number;
  /** The configuration that the strategy sends, such as `lr`. */
  config: Record<string, ConfigValue>;
  /** Aborted when the node has to stop. Pass it to calls that take long. */
  signal: AbortSignal;
}

/** The result of a round on this node's data. */
export interface RoundOutcome {
  /** How many examples the model was trained or evaluated on. Strategies weight nodes by it. */
  examples: number;
  /** Metrics by name. Strategies average them. */
  metrics?: Metrics;
}

/** A finished round, as `onRound` gets it. */
export interface RoundReport extends RoundOutcome {
  kind: 'train' | 'evaluate';
  round: number;
  /** Bytes in the bodies of all calls since the last report. */
  bytesSent: number;
  bytesReceived: number;
  /** How long the training or evaluation took. */
  seconds: number;
}

/** What a node is doing. */
export type FederationState = 'connecting' | 'waiting' | 'training' | 'evaluating' | 'reconnecting' | 'over';

/** Options of `joinFederation`. */
export interface JoinFederationOptions {
  /** The HTTP address of the SuperLink: `http://127.0.0.1:8000`, or in a page a path of its own origin: `/flower`. */
  url: string;
  /** An adapted model. After the server's last message it has the common adapter. */
  model: tf.LayersModel;
  /** Trains the model for a round. The common adapter is on it already. */
  train: (model: tf.LayersModel, round: FederatedRound) => RoundOutcome | Promise<RoundOutcome>;
  /** Evaluates the common adapter on this node's data. Without it the node reports that it evaluates nothing. */
  evaluate?: (model: tf.LayersModel, round: FederatedRound) => RoundOutcome | Promise<RoundOutcome>;
  /** The key that the node signs with. With a stored key it returns as the same node. Defaults to a new one. */
  key?: NodeKey;
  /** Makes the node leave at once when it is aborted. `finished` is then rejected with code `ERR_ABORTED`. */
  signal?: AbortSignal;
  onRound?: (report: RoundReport) => void;
  onState?: (state: FederationState) => void;
  /** Seconds between two heartbeats, 10 to 1800. The server waits for twice as long. Defaults to 30. */
  heartbeatSeconds?: number;
}

/** What a node did. */
export interface FederationSummary {
  /** Rounds in which it trained. */
  rounds: number;
  bytesSent: number;
  bytesReceived: number;
}

/** Milliseconds between two questions for a message: soon after the last one, then as Flower's own nodes do. */
const POLL = 1000;
const LONGEST_POLL = 3000;

/** After so many questions in vain the node asks whether the run goes on. */
const ASKS_EVERY = 3;

/** The longest wait before a call is repeated. */
const LONGEST_WAIT = 20_000;

/** How long a node that leaves waits for a server that does not answer, in milliseconds; for each call of a reply. */
const [PATIENCE, PATIENCE_FOR_REPLY] = [3000, 30_000];

/** Codes of errors that a reply may have instead of a content, by Flower. */
const FAILED = 2n;
const NOT_UNDERSTOOD = 6n;

/** What came of a round, and which it was. */
type KnownOutcome = Omit<RoundReport, 'bytesSent' | 'bytesReceived' | 'seconds'>;

/** A node in a run, from its arrival to its leave. */
export class Participation {
  private node!: FlowerNode;
  private readonly controller = new AbortController();
  readonly departure = new Departure(this.controller.signal);
  private runId: bigint | undefined;
  private rounds = 0;
  private reported = {bytesSent: 0, bytesReceived: 0};

  constructor(
    private readonly options: JoinFederationOptions & {heartbeatSeconds: number},
    private readonly tensors: SharedTensors,
  ) {}

  async run(): Promise<FederationSummary> {
    const {signal: given, key} = this.options;
    const forget = given && whenAborted(given, () => this.controller.abort(given.reason));
    try {
      this.state('connecting');
      const url = this.options.url.replace(/\/+$/, '');
      const {heartbeatSeconds} = this.options;
      this.node = new FlowerNode(url, key ?? (await createNodeKey()), heartbeatSeconds, this.tensors.mostBytes);
      await this.departure.within(PATIENCE, signal => this.node.arrive(signal));
      try {
        void this.keepAlive();
        await this.takePart();
      } finally {
        this.controller.abort(); // ends the signs of life
        await this.goodbye();
      }
    } catch (error) {
      throwIfAborted(given);
      if (!(error instanceof Left)) {
        throw asLoRAError(error, 'The node cannot take part', 'ERR_IO');
      }
    } finally {
      forget?.();
      this.state('over');
    }
    const {bytesSent, bytesReceived} = this.node;
    return {rounds: this.rounds, bytesSent, bytesReceived};
  }

  private get signal(): AbortSignal {
    return this.controller.signal;
  }

  private current: FederationState | undefined;

  private state(state: FederationState): void {
    if (state !== this.current) {
      this.current = state;
      this.options.onState?.(state);
    }
  }

  private async takePart(): Promise<void> {
    let isOver = false;
    let idle = 0; // questions since the last message that found none
    while (!isOver && !this.departure.isWanted) {
      this.state('waiting');
      const message = await this.persistently(signal => this.node.pull(signal));
      if (message !== undefined) {
        idle = 0;
        this.runId = message.metadata.runId ?? 0n;
        await this.handle(message).catch((error: unknown) => {
          // The run ended or was stopped while the node was at work, or the server no longer waits for its reply.
          if (!(error instanceof Refusal)) {
            throw error;
          }
        });
      } else {
        const {runId} = this;
        const asks = runId !== undefined && idle % ASKS_EVERY === 0;
        isOver = asks && !(await this.persistently(signal => this.node.isRunning(runId, signal)));
        const time = isOver ? 0 : Math.min(POLL * 1.5 ** idle++, LONGEST_POLL);
        await this.departure.within(0, signal => pause(time, signal));
      }
    }
  }

  private async handle({metadata, tree}: NonNullable<Awaited<ReturnType<FlowerNode['pull']>>>): Promise<void> {
    const objects = await this.persistently(signal => this.node.pullObjects(metadata, tree, signal));
    await this.persistently(signal => this.node.confirm(metadata, tree, signal));
    let reply: Reply;
    let outcome: KnownOutcome | undefined;
    let failure: {error: unknown} | undefined;
    const start = performance.now();
    try {
      ({reply, outcome} = await this.answer(metadata, objects.get(tree.objectId ?? ''), objects));
    } catch (error) {
      failure = {error};
      const code = error instanceof LoRAError ? NOT_UNDERSTOOD : FAILED;
      reply = await this.node.reply(metadata, {code, reason: messageOf(error).slice(0, 1000)});
      this.signal.throwIfAborted();
    }
    const seconds = (performance.now() - start) / 1000;
    const unsent = await this.send(reply, seconds).then(
      () => undefined,
      (error: unknown) => ({error}),
    );
    if (failure !== undefined) {
      throw asLoRAError(failure.error, 'The round failed', 'ERR_IO');
    }
    if (unsent !== undefined) {
      const {error} = unsent;
      throw error instanceof Left ? ioError(`The node has left, and its last reply is lost: ${error.message}`) : error;
    }
    if (outcome !== undefined) {
      this.report(outcome, seconds);
    }
  }

  private async send(reply: Reply, seconds: number): Promise<void> {
    const {sessionId, objects} = await this.persistently(
      signal => this.node.announce(reply, seconds, signal),
      PATIENCE_FOR_REPLY,
    );
    for (const object of objects) {
      await this.persistently(signal => this.node.pushObject(reply, sessionId, object, signal), PATIENCE_FOR_REPLY);
    }
  }

  /** What a message is answered with, and what came of the work that it asked for, if there was some. */
  private async answer(
    metadata: Metadata,
    message: Uint8Array | undefined,
    objects: ReadonlyMap<string, Uint8Array>,
  ): Promise<{reply: Reply; outcome?: KnownOutcome}> {
    const [kind = ''] = (metadata.messageType ?? '').split('.');
    const [contentId = ''] = message === undefined ? [] : opened(message, 'Message').children;
    const {arraysName, arrays, config} = readRecords(contentId, objects);
    if (kind !== 'train' && kind !== 'evaluate') {
      throw unsupportedError(`The server asks for "${kind.slice(0, 40)}". This node trains and evaluates.`);
    }
    const {model, train, evaluate} = this.options;
    const before = this.tensors.snapshot();
    try {
      if (Object.keys(arrays).length > 0) {
        await this.tensors.set(arrays, config);
      }
      const work = kind === 'train' ? train : evaluate;
      if (work === undefined) {
        const reason = 'This node evaluates nothing.';
        return {reply: await this.node.reply(metadata, {code: NOT_UNDERSTOOD, reason})};
      }
      this.state(kind === 'train' ? 'training' : 'evaluating');
      const round = Number(config['server-round'] ?? metadata.groupId) || this.rounds + 1;
      const outcome = checkedOutcome(await work(model, {round, config, signal: this.signal}), kind);
      this.signal.throwIfAborted();
      const sent = kind === 'train' ? await this.tensors.get() : undefined;
      const metrics = {...outcome.metrics, 'num-examples': outcome.examples};
      const content = await writeRecords(arraysName || 'arrays', sent, metrics);
      const reply = await this.node.reply(metadata, content);
      this.rounds += kind === 'train' ? 1 : 0;
      return {reply, outcome: {...outcome, kind, round}};
    } catch (error) {
      before.restore();
      throw error;
    } finally {
      before.dispose();
    }
  }

  private report(outcome: KnownOutcome, seconds: number): void {
    const {bytesSent, bytesReceived} = this.node;
    this.options.onRound?.({
      ...outcome,
      seconds,
      bytesSent: bytesSent - this.reported.bytesSent,
      bytesReceived: bytesReceived - this.reported.bytesReceived,
    });
    this.reported = {bytesSent, bytesReceived};
  }

  /** Repeats a call until it has an answer. A node that the server does not know presents itself again. */
  private persistently<T>(call: (signal: AbortSignal) => Promise<T>, patience = PATIENCE): Promise<T> {
    return this.departure.within(patience, async signal => {
      let isPresented = false;
      for (let wait = 500; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
        try {
          return await call(signal);
        } catch (error) {
          if (error instanceof Refusal && error.isStranger && !isPresented) {
            isPresented = true; // a server that was started again, without a memory
            await this.persistently(again => this.node.arrive(again), patience);
          } else if (error instanceof Unreachable) {
            isPresented = false;
            this.state('reconnecting');
            await pause(wait, signal);
          } else {
            throw error;
          }
        }
      }
    });
  }

  /** Signs of life, until the node leaves. What goes wrong with one shows itself in the next call. */
  private async keepAlive(): Promise<void> {
    while (!this.signal.aborted) {
      try {
        await pause(this.options.heartbeatSeconds * 1000 * 0.8, this.signal);
        await this.node.heartbeat(this.signal);
      } catch {
        // next time
      }
    }
  }

  /** Says good-bye, and waits for it only a little. */
  private async goodbye(): Promise<void> {
    const signal = AbortSignal.timeout(3000);
    try {
      await this.node.leave(signal);
      // A key that nobody has kept is of no use. One that is forgotten earlier takes its last reply with it.
      if (this.options.key === undefined && !this.departure.isWanted && this.runId !== undefined) {
        await this.node.forget(signal);
      }
    } catch {
      // The server will miss the signs of life.
    }
  }
}

/** @throws LoRAError if what `train` or `evaluate` returned is no outcome. */
function checkedOutcome(outcome: unknown, kind: string): RoundOutcome {
  const {examples, metrics = {}} = (outcome ?? {}) as Partial<RoundOutcome>;
  const isMeasure = (value: unknown) => typeof value === 'number' && Number.isFinite(value);
  const areMeasures =
    typeof metrics === 'object' &&
    (metrics as unknown) !== null &&
    Object.values(metrics).every(value => (Array.isArray(value) ? value.every(isMeasure) : isMeasure(value)));
  if (examples === undefined || !Number.isSafeInteger(examples) || examples < 0 || !areMeasures) {
    throw new LoRAError(
      `${kind} must return {examples, metrics}: a whole number, and finite numbers by name, got ${show(outcome)}.`,
    );
  }
  return {examples, metrics};
}
