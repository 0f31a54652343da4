import {aligned, isShared, LINE, type ModuleFunctions, type NativeFunctions} from './module';

/** Fields of the table, as word indices, each in a separate cache line. */
const WORDS = {round: 0, remaining: 16, done: 32, ready: 48, failed: 64, messages: 65, parts: 80} as const;
/** Where the calls begin, in bytes, and how many words each has: the function and its arguments. */
const CALLS = {begin: 1024, numbers: 24} as const;

/** How often a thread looks for a new round before it sleeps: for about the time between two operations. */
const LOOKS = 40_000;
/** How often the first thread looks for the end of a round before it sleeps, where it may: waking up takes as long. */
const LOOKS_FOR_END = 4000;

/**
 * The code of a worker. It receives modules, the memory and the place of the table, and waits at the table for rounds.
 * In a round it takes parts until none is left, and makes their calls. When there is another message with modules, it
 * leaves the table to receive it. (Numbers that are spread, `f(...numbers)`, take longer than many a call.)
 */
export const HELPER = `
const functions = [];
let received = 0;
onmessage = ({data: {modules, memory, place}}) => {
  functions.push(...modules.flatMap(module => Object.values(new WebAssembly.Instance(module, {env: {memory}}).exports)));
  received++;
  const words = new Int32Array(memory.buffer, place);
  const word = name => Atomics.load(words, name);
  Atomics.add(words, ${WORDS.ready}, 1);
  for (let round = word(${WORDS.round}); word(${WORDS.messages}) === received; ) {
    for (let look = 0; word(${WORDS.round}) === round; look++) {
      if (look > ${LOOKS}) Atomics.wait(words, ${WORDS.round}, round);
    }
    round = word(${WORDS.round});
    for (let part; (part = Atomics.sub(words, ${WORDS.remaining}, 1)) > 0; ) {
      try {
        const at = ${WORDS.parts - 2} + 2 * part;
        for (let call = words[at]; call < words[at + 1]; call++) {
          const numbers = new Float64Array(memory.buffer, place + ${CALLS.begin} + call * ${8 * CALLS.numbers}, ${CALLS.numbers});
          functions[numbers[0]].apply(null, numbers.subarray(1));
        }
      } catch {
        Atomics.store(words, ${WORDS.failed}, 1);
      }
      Atomics.add(words, ${WORDS.done}, 1);
      Atomics.notify(words, ${WORDS.done});
    }
  }
};
`;

/** A thread that runs `HELPER`. */
export interface HelperThread {
  postMessage(message: unknown): void;
  terminate(): unknown;
}

/** How many threads compute, the calling one included, and how another is started. */
export interface ThreadSource {
  readonly count: number;
  /** @throws if a thread cannot be started. */
  readonly start: () => HelperThread;
  /** Called when all threads have started, and when they cannot be. */
  readonly release?: () => void;
}

/** Web workers, as many as tfjs would use; `undefined` where the environment has none. */
export function webWorkers(count: number): ThreadSource | undefined {
  if (typeof Worker !== 'function') {
    return undefined;
  }
  let url: string | undefined;
  return {
    count,
    start: () => new Worker((url ??= URL.createObjectURL(new Blob([HELPER], {type: 'text/javascript'})))),
    release: () => {
      URL.revokeObjectURL(url ?? '');
    },
  };
}

/** A part of the items to compute: the first of them, and how many. */
export interface Part {
  readonly first: number;
  readonly size: number;
}

/** A call of a part: the function's number among those of the threads, and how this thread makes it. */
interface Call {
  readonly id: number;
  readonly args: readonly number[];
  /** @param exactFunctions the functions of our module that this thread computes with. */
  readonly make: (exactFunctions: NativeFunctions) => void;
}

/** The resources of threads. */
export interface Workplace {
  readonly memory: WebAssembly.Memory;
  /** Our module, and with fused sums, where the engine has these. */
  readonly modules: () => readonly [exact: WebAssembly.Module, fused?: WebAssembly.Module];
  /** Returns 0 where no memory is left. */
  readonly allocate: (bytes: number) => number;
  /** The owner of the memory. When it is collected, the threads end. */
  readonly owner: object;
}

/** The most threads that tfjs uses. */
export const MAX_THREADS = 8;
/** The most calls of a round that fit into the table. Parts with more are computed in several rounds. */
export const MAX_CALLS = 1024;

/** A thread is called for at least this many multiplications, which take longer than the call. */
let worth = 2 ** 19;
/** Threads whose help has cost more milliseconds than it has saved are left alone for a while. */
let mostLoss = 1;
/** For how long, in multiples of what they cost: so that trying again costs a twentieth at most. */
const REST = 20;

/** For tests, which call threads for less work, and whether or not it saves time. */
export function callThreadsFor(multiplications: number): void {
  worth = multiplications;
  mostLoss = Infinity;
}

/** How many of the threads are worth calling for this many multiplications. */
export function worthCalling(threads: number, work: number): number {
  return Math.min(threads, Math.floor(work / worth));
}

/** Divides `count` items into at most `most` parts of whole units; the last part may be smaller. */
export function partsOf(count: number, unit: number, most: number): Part[] {
  const units = Math.ceil(count / unit);
  const parts = Math.max(1, Math.min(most, units));
  const begin = (i: number) => Math.min(count, unit * Math.round((i * units) / parts));
  return Array.from({length: parts}, (_, i) => ({first: begin(i), size: begin(i + 1) - begin(i)}));
}

/**
 * Threads that share the memory of this one. They exist where tfjs can have threads too. They read their work from a
 * table in that memory, because messages to a thread would arrive late.
 */
export class Threads {
  private readonly words: Int32Array;
  private readonly numbers: Float64Array;
  private readonly recorder: NativeFunctions;
  private readonly functionCount: number;
  private readonly workers: readonly HelperThread[];
  /** How many functions the threads have, of all modules. */
  private functionTotal: number;
  private messages = 1;
  private calls: Call[] = [];
  private round = 0;
  private isReady = false;
  /** How many threads are called, this one included: fewer than there are while other processes use their cores. */
  private called: number;
  /** When all are called again, in milliseconds; and what their help has cost since, less what it has saved. */
  private restUntil = 0;
  private loss = 0;

  private constructor(
    private readonly source: ThreadSource,
    private readonly count: number,
    private readonly place: number,
    private readonly workplace: Workplace,
  ) {
    this.called = count;
    const {memory, modules, owner} = workplace;
    const [exact, ...addedModules] = modules();
    this.words = new Int32Array(memory.buffer, place, CALLS.begin / 4).fill(0);
    this.numbers = new Float64Array(memory.buffer, place + CALLS.begin, CALLS.numbers * MAX_CALLS);
    this.functionCount = WebAssembly.Module.exports(exact).length;
    this.functionTotal = this.functionCount * (1 + addedModules.length);
    this.recorder = this.recorderOf<NativeFunctions>(exact, 0, exactFunctions => exactFunctions);
    Atomics.store(this.words, WORDS.messages, this.messages);
    this.workers = Array.from({length: count - 1}, () => {
      const worker = source.start();
      worker.postMessage({modules: [exact, ...addedModules], memory, place});
      return worker;
    });
    abandoned.register(owner, this.workers);
  }

  /** The functions of a module as they are written down for the other threads, where the first has this number. */
  private recorderOf<Functions extends ModuleFunctions>(
    module: WebAssembly.Module,
    first: number,
    functionsOf: (exactFunctions: NativeFunctions) => Functions,
  ): Functions {
    const names = WebAssembly.Module.exports(module).map(({name}) => name);
    return Object.fromEntries(
      names.map((name, i) => [
        name,
        (...args: number[]) =>
          this.calls.push({id: first + i, args, make: exactFunctions => functionsOf(exactFunctions)[name]?.(...args)}),
      ]),
    ) as unknown as Functions;
  }

  /**
   * Gives the functions of another module to the threads, which are not available until they have them.
   *
   * @returns for the functions that a part is computed with, those of the other module.
   */
  add<Functions extends ModuleFunctions>(
    module: WebAssembly.Module,
    functions: Functions,
  ): (exactFunctions: NativeFunctions) => Functions {
    const recorder = this.recorderOf(module, this.functionTotal, () => functions);
    this.functionTotal += WebAssembly.Module.exports(module).length;
    const {memory} = this.workplace;
    this.workers.forEach(worker => {
      worker.postMessage({modules: [module], memory, place: this.place});
    });
    this.isReady = false;
    Atomics.store(this.words, WORDS.messages, ++this.messages);
    // Those that wait for a round look up.
    Atomics.store(this.words, WORDS.remaining, 0);
    Atomics.store(this.words, WORDS.round, ++this.round);
    Atomics.notify(this.words, WORDS.round);
    return exactFunctions => (exactFunctions === this.recorder ? recorder : functions);
  }

  /** Starts one thread fewer than the source counts; `undefined` if that is none, or if the memory is not shared. */
  static start(source: ThreadSource | undefined, workplace: Workplace): Threads | undefined {
    if (source === undefined || source.count < 2 || !isShared(workplace.memory)) {
      return undefined;
    }
    // This memory is never freed: threads read it as long as they live.
    const place = workplace.allocate(CALLS.begin + 8 * CALLS.numbers * MAX_CALLS + LINE);
    if (place === 0) {
      return undefined;
    }
    try {
      return new Threads(source, Math.min(source.count, MAX_THREADS), aligned(place), workplace);
    } catch {
      source.release?.();
      return undefined; // the page's policy has no workers of this kind
    }
  }

  /** How many threads to call, this one included: until all the others have begun, one. */
  available(): number {
    if (!this.isReady && Atomics.load(this.words, WORDS.ready) === this.messages * (this.count - 1)) {
      this.isReady = true;
      this.source.release?.();
    }
    if (this.called < this.count && performance.now() >= this.restUntil) {
      this.called = this.count;
    }
    return this.isReady ? this.called : 1;
  }

  /** Computes parts at the same time. This thread takes the parts that the others leave. */
  run(
    parts: readonly Part[],
    compute: (functions: NativeFunctions, range: Part, i: number) => void,
    functions: NativeFunctions,
    isFused: boolean,
  ): void {
    const calls = parts.map((range, i) => {
      this.calls = [];
      compute(this.recorder, range, i);
      return this.calls;
    });
    const longest = Math.max(...calls.map(({length}) => length));
    const most = Math.floor(MAX_CALLS / parts.length);
    for (let from = 0; from < longest; from += most) {
      this.runRound(
        calls.map(ofPart => ofPart.slice(from, from + most)),
        functions,
        isFused,
      );
    }
  }

  private runRound(parts: readonly (readonly Call[])[], functions: NativeFunctions, isFused: boolean): void {
    const {words} = this;
    let call = 0;
    parts.forEach((calls, i) => {
      words[WORDS.parts + 2 * i] = call;
      calls.forEach(({id, args}) => {
        // The functions with fused sums follow those of our module. Other modules have no fused ones.
        this.numbers[call * CALLS.numbers] = id + (isFused && id < this.functionCount ? this.functionCount : 0);
        this.numbers.set(args, call++ * CALLS.numbers + 1);
      });
      words[WORDS.parts + 2 * i + 1] = call;
    });
    Atomics.store(words, WORDS.done, 0);
    // A thread that is still looking for parts of the round before may take one from here on: all is written.
    Atomics.store(words, WORDS.remaining, parts.length);
    Atomics.store(words, WORDS.round, ++this.round);
    Atomics.notify(words, WORDS.round);
    const begin = performance.now();
    let cause: unknown;
    for (let i = this.takePart(); i >= 0; i = this.takePart()) {
      try {
        parts[i]?.forEach(({make}) => {
          make(functions);
        });
      } catch (error) {
        cause = error; // the others have not ended yet
        Atomics.store(words, WORDS.failed, 1);
      }
      Atomics.add(words, WORDS.done, 1);
    }
    const end = performance.now();
    this.awaitOthers(parts.length);
    this.weigh(parts.length, end - begin, performance.now() - end);
    // A failure is that of one round.
    if (Atomics.exchange(words, WORDS.failed, 0) !== 0) {
      throw new Error('A thread of the wasm kernels failed.', {cause});
    }
  }

  /** Waits until all parts are done. Where this thread may not sleep, as that of a page, it looks until then. */
  private awaitOthers(parts: number): void {
    const {words} = this;
    let done = Atomics.load(words, WORDS.done);
    for (let look = 0; done < parts; look++) {
      if (look > LOOKS_FOR_END && maySleep()) {
        Atomics.wait(words, WORDS.done, done);
      }
      done = Atomics.load(words, WORDS.done);
    }
  }

  /**
   * Calls fewer threads for a while if this one has waited for them for longer than they have saved: other processes
   * use their cores then. One thread fewer would have computed the parts in `parts / (parts - 1)` times the time.
   */
  private weigh(parts: number, computed: number, waited: number): void {
    this.loss = Math.max(0, this.loss + waited - computed / (parts - 1));
    if (this.loss > mostLoss) {
      this.called = Math.max(1, Math.min(this.called, parts) - 1);
      this.restUntil = performance.now() + REST * this.loss;
      this.loss = 0;
    }
  }

  /** Takes a part that no thread has yet, and returns its number; below 0 if none is left. */
  private takePart(): number {
    return Atomics.sub(this.words, WORDS.remaining, 1) - 1;
  }
}

/** Ends the threads of a memory whose owner is gone. */
const abandoned = new FinalizationRegistry<readonly HelperThread[]>(workers => {
  workers.forEach(worker => {
    worker.terminate();
  });
});

let isSleepAllowed: boolean | undefined;

/** Whether this thread may sleep: in Node and in workers, but not in a page. */
function maySleep(): boolean {
  if (isSleepAllowed === undefined) {
    try {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 0);
      isSleepAllowed = true;
    } catch {
      isSleepAllowed = false;
    }
  }
  return isSleepAllowed;
}
