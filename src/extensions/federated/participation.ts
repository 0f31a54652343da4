import type * as tf from '@tensorflow/tfjs';
import {asLoRAError, ioError, LoRAError, messageOf, show, unsupportedError} from '../../platform/errors';
import {throwIfAborted} from '../../platform/signals';
import type {Metadata} from './calls';
import {FlowerNode, Refusal, type Reply, Unreachable} from './flower';
import {createNodeKey, type NodeKey} from './nodeKey';
import {type ConfigValue, type Metrics, opened, readRecords, writeRecords} from './records';
import type {SharedTensors} from './sharedTensors';
import {Departure, Left, pause, whenAborted} from './waiting';

/** A round as the server requests it. */
export interface FederatedRound {
  /** The server's number of the round, from 1. */
  round: number;
  /** The configuration that the strategy sends, such as `lr`. */
  config: Record<string, ConfigValue>;
  /** Aborted when the node has to stop. Pass it to long calls. */
  signal: AbortSignal;
}

/** The result of a round on this node's data. */
export interface RoundOutcome {
  /** How many examples the model was trained or evaluated on. Strategies weight nodes by it. */
  examples: number;
  /** Metrics by name. Strategies average them. */
  metrics?: Metrics;
}

/** A finished round, as passed to `onRound`. */
export interface RoundReport extends RoundOutcome {
  /** Whether the server requested training or an evaluation. */
  kind: 'train' | 'evaluate';
  /** The number of the round, as the server counts. */
  round: number;
  /** Bytes in the bodies of all calls since the last report. */
  bytesSent: number;
  /** Bytes in the bodies of all answers since the last report. */
  bytesReceived: number;
  /** The duration of the training or evaluation. */
  seconds: number;
}

/** What a node is doing. */
export type FederationState = 'connecting' | 'waiting' | 'training' | 'evaluating' | 'reconnecting' | 'over';

/** Options of `joinFederation`. */
export interface JoinFederationOptions {
  /** The HTTP address of the SuperLink: `http://127.0.0.1:8000`, or in a page a path of the same origin: `/flower`. */
  url: string;
  /** An adapted model. After the server's last message it has the common adapter. */
  model: tf.LayersModel;
  /** Trains the model for a round. The common adapter is already set. */
  train: (model: tf.LayersModel, round: FederatedRound) => RoundOutcome | Promise<RoundOutcome>;
  /** Evaluates the common adapter on this node's data. If missing, the node reports that it does not evaluate. */
  evaluate?: (model: tf.LayersModel, round: FederatedRound) => RoundOutcome | Promise<RoundOutcome>;
  /** The key that signs the node's calls. With a stored key it returns as the same node. Defaults to a new one. */
  key?: NodeKey;
  /** Makes the node leave at once when aborted. `finished` then rejects with code `ERR_ABORTED`. */
  signal?: AbortSignal;
  /** Called after each request of the server. */
  onRound?: (report: RoundReport) => void;
  /** Called when the state of the connection changes. */
  onState?: (state: FederationState) => void;
  /** Seconds between two heartbeats, 10 to 1800. The server waits twice as long. Defaults to 30. */
  heartbeatSeconds?: number;
}

/** What a node did. */
export interface FederationSummary {
  /** Rounds in which it trained. */
  rounds: number;
  /** How many bytes were sent to the server. */
  bytesSent: number;
  /** How many bytes the server sent. */
  bytesReceived: number;
}

/** Milliseconds between two polls: short after a message, then as in Flower's own nodes. */
const POLL = 1000;
const LONGEST_POLL = 3000;

/** After this many polls without a message, the node checks whether the run is in progress. */
const ASKS_EVERY = 3;

/** The longest wait before a call is repeated. */
const LONGEST_WAIT = 20_000;

/** How long a leaving node waits for an unresponsive server, in milliseconds; for each call of a reply. */
const [PATIENCE, PATIENCE_FOR_REPLY] = [3000, 30_000];
/** How often a reply is announced. */
const MAX_ATTEMPTS = 3;

/** Flower's error codes for replies without content. */
const FAILED = 2n;
const NOT_UNDERSTOOD = 6n;

type KnownOutcome = Omit<RoundReport, 'bytesSent' | 'bytesReceived' | 'seconds'>;

/** A node in a run, from joining to leaving. */
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
    const {signal: callerSignal, key} = this.options;
    const forget = callerSignal && whenAborted(callerSignal, () => this.controller.abort(callerSignal.reason));
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
        this.controller.abort(); // ends the heartbeats
        await this.goodbye();
      }
    } catch (error) {
      throwIfAborted(callerSignal);
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
    let idle = 0; // polls since the last message
    while (!isOver && !this.departure.isWanted) {
      this.state('waiting');
      const message = await this.persistently(signal => this.node.pull(signal));
      if (message !== undefined) {
        idle = 0;
        this.runId = message.metadata.runId ?? 0n;
        await this.handle(message).catch((error: unknown) => {
          // The run ended during the work, or the server no longer waits for the reply.
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

  /** Sends a reply, and again if the server did not store all of it: it was busy, or its answer was lost. */
  private async send(reply: Reply, seconds: number): Promise<void> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const {sessionId, objects} = await this.persistently(
        signal => this.node.announce(reply, seconds, signal),
        PATIENCE_FOR_REPLY,
      );
      let isStored = true;
      for (const object of objects) {
        const push = (signal: AbortSignal) => this.node.pushObject(reply, sessionId, object, signal);
        isStored &&= await this.persistently(push, PATIENCE_FOR_REPLY);
      }
      if (isStored) {
        return;
      }
    }
    throw ioError('The SuperLink did not store an object of the reply.');
  }

  /** Handles a message. Returns the reply, and the result of the requested work, if any. */
  private async answer(
    metadata: Metadata,
    message: Uint8Array | undefined,
    objects: ReadonlyMap<string, Uint8Array>,
  ): Promise<{reply: Reply; outcome?: KnownOutcome}> {
    const [kind = ''] = (metadata.messageType ?? '').split('.');
    const [contentId = ''] = message === undefined ? [] : opened(message, 'Message').children;
    const {arraysName, arrays, config} = readRecords(contentId, objects);
    if (kind !== 'train' && kind !== 'evaluate') {
      throw unsupportedError(`The server requests "${kind.slice(0, 40)}". This node only trains and evaluates.`);
    }
    const {model, train, evaluate} = this.options;
    const before = this.tensors.snapshot();
    try {
      if (Object.keys(arrays).length > 0) {
        await this.tensors.set(arrays, config);
      }
      const work = kind === 'train' ? train : evaluate;
      if (work === undefined) {
        const reason = 'This node does not evaluate.';
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

  /** Repeats a call until it is answered. A node that the server does not know registers again. */
  private persistently<T>(call: (signal: AbortSignal) => Promise<T>, patience = PATIENCE): Promise<T> {
    return this.departure.within(patience, async signal => {
      let isPresented = false;
      for (let wait = 500; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
        try {
          return await call(signal);
        } catch (error) {
          if (error instanceof Refusal && error.isStranger && !isPresented) {
            isPresented = true; // the server restarted without its state
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

  /** Sends heartbeats until the node leaves. Their errors recur in other calls. */
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

  /** Leaves the server, with a short time limit. */
  private async goodbye(): Promise<void> {
    const signal = AbortSignal.timeout(3000);
    try {
      await this.node.leave(signal);
      // A key that is not kept is useless afterwards. Unregistering earlier would drop its last reply.
      if (this.options.key === undefined && !this.departure.isWanted && this.runId !== undefined) {
        await this.node.forget(signal);
      }
    } catch {
      // The server will notice the missing heartbeats.
    }
  }
}

/** @throws LoRAError if `train` or `evaluate` did not return an outcome. */
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
