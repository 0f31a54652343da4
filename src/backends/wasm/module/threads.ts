import {aligned, isShared, LINE, type NativeFunctions} from './module';

/** Places in the table, in words: each in a line of the cache of its own. */
const WORDS = {round: 0, remaining: 16, done: 32, ready: 48, failed: 64, messages: 65, parts: 80} as const;
/** Where the calls begin, in bytes, and how many numbers each has: the function's, and its arguments. */
const CALLS = {begin: 1024, numbers: 24} as const;

/** How often a thread looks for a new round before it sleeps: for about the time between two operations. */
const LOOKS = 40_000;

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
    }
  }
};
`;

/** A part of the items to compute: the first of them, and how many. */
export interface Part {
  readonly first: number;
  readonly size: number;
}

/** What threads work with. */
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
const MOST_THREADS = 8;
/** The most calls of a round that fit into the table. A round with more is computed on this thread. */
export const MOST_CALLS = 1024;

/** A thread is called for at least so many multiplications, which take longer than the call. */
let worth = 2 ** 19;

/** For tests, which call threads for less work. */
export function callThreadsFor(multiplications: number): void {
  worth = multiplications;
}

/** How many of the threads are worth calling for so many multiplications. */
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
 * Threads beside this one that share its memory: where the browser permits that, tfjs has threads too. They read their
 * work from a table in that memory, since messages to a thread would arrive late.
 */
export class Threads {
  private readonly words: Int32Array;
  private readonly numbers: Float64Array;
  private readonly url: string;
  private readonly recorder: NativeFunctions;
  private readonly functionCount: number;
  private readonly workers: readonly Worker[];
  /** How many functions the threads have, of all modules. */
  private known: number;
  private messages = 1;
  private calls: (readonly [id: number, args: readonly number[]])[] = [];
  private round = 0;
  private isReady = false;

  private constructor(
    private readonly count: number,
    private readonly place: number,
    private readonly workplace: Workplace,
  ) {
    const {memory, modules, owner} = workplace;
    const [exact, ...others] = modules();
    this.words = new Int32Array(memory.buffer, place, CALLS.begin / 4).fill(0);
    this.numbers = new Float64Array(memory.buffer, place + CALLS.begin, CALLS.numbers * MOST_CALLS);
    this.functionCount = WebAssembly.Module.exports(exact).length;
    this.known = this.functionCount * (1 + others.length);
    this.recorder = this.recorderOf(exact, 0);
    this.url = URL.createObjectURL(new Blob([HELPER], {type: 'text/javascript'}));
    Atomics.store(this.words, WORDS.messages, this.messages);
    this.workers = Array.from({length: count - 1}, () => {
      const worker = new Worker(this.url);
      worker.postMessage({modules: [exact, ...others], memory, place});
      return worker;
    });
    abandoned.register(owner, this.workers);
  }

  /** The functions of a module as they are written down for the other threads, where the first has this number. */
  private recorderOf<Functions>(module: WebAssembly.Module, first: number): Functions {
    const names = WebAssembly.Module.exports(module).map(({name}) => name);
    return Object.fromEntries(
      names.map((name, i) => [name, (...args: number[]) => this.calls.push([first + i, args])]),
    ) as Functions;
  }

  /**
   * Gives the functions of another module to the threads, which are not available until they have them.
   *
   * @returns for the functions that a part is computed with, those of the other module.
   */
  add<Functions>(module: WebAssembly.Module, functions: Functions): (own: NativeFunctions) => Functions {
    const recorder = this.recorderOf<Functions>(module, this.known);
    this.known += WebAssembly.Module.exports(module).length;
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
    return own => (own === this.recorder ? recorder : functions);
  }

  /** Starts one thread fewer than tfjs has; `undefined` where tfjs has one only. */
  static start(count: number, workplace: Workplace): Threads | undefined {
    if (count < 2 || typeof Worker !== 'function' || !isShared(workplace.memory)) {
      return undefined;
    }
    // This memory is never freed: threads read it as long as they live.
    const place = workplace.allocate(CALLS.begin + 8 * CALLS.numbers * MOST_CALLS + LINE);
    if (place === 0) {
      return undefined;
    }
    try {
      return new Threads(Math.min(count, MOST_THREADS), aligned(place), workplace);
    } catch {
      return undefined; // the page's policy has no workers of this kind
    }
  }

  /** How many threads there are, this one included: until all the others have begun, one. */
  available(): number {
    if (!this.isReady && Atomics.load(this.words, WORDS.ready) === this.messages * (this.count - 1)) {
      this.isReady = true;
      URL.revokeObjectURL(this.url);
    }
    return this.isReady ? this.count : 1;
  }

  /** Computes parts at the same time. This thread takes the parts that the others leave. */
  run(
    parts: readonly Part[],
    compute: (functions: NativeFunctions, part: Part, i: number) => void,
    functions: NativeFunctions,
    isFused: boolean,
  ): void {
    const {words} = this;
    this.calls = [];
    const ends = parts.map((part, i) => {
      compute(this.recorder, part, i);
      return this.calls.length;
    });
    if (this.calls.length > MOST_CALLS) {
      parts.forEach((part, i) => {
        compute(functions, part, i);
      });
      return;
    }
    this.calls.forEach(([id, args], i) => {
      this.numbers[i * CALLS.numbers] = id + (isFused ? this.functionCount : 0);
      this.numbers.set(args, i * CALLS.numbers + 1);
    });
    ends.forEach((end, i) => {
      words[WORDS.parts + 2 * i] = ends[i - 1] ?? 0;
      words[WORDS.parts + 2 * i + 1] = end;
    });
    Atomics.store(words, WORDS.done, 0);
    // A thread that is still looking for parts of the round before may take one from here on: all is written.
    Atomics.store(words, WORDS.remaining, parts.length);
    Atomics.store(words, WORDS.round, ++this.round);
    Atomics.notify(words, WORDS.round);
    let cause: unknown;
    for (let i = this.takePart(); i >= 0; i = this.takePart()) {
      try {
        compute(functions, parts[i] as Part, i);
      } catch (error) {
        cause = error; // the others have not ended yet
        Atomics.store(words, WORDS.failed, 1);
      }
      Atomics.add(words, WORDS.done, 1);
    }
    while (Atomics.load(words, WORDS.done) < parts.length) {
      // The others are about to end: pages may not sleep, and it would take longer.
    }
    // A failure is that of one round.
    if (Atomics.exchange(words, WORDS.failed, 0) !== 0) {
      throw new Error('A thread of the wasm kernels failed.', {cause});
    }
  }

  /** Takes a part that no thread has yet, and returns its number; below 0 if none is left. */
  private takePart(): number {
    return Atomics.sub(this.words, WORDS.remaining, 1) - 1;
  }
}

/** Ends the threads of a memory whose owner is gone. */
const abandoned = new FinalizationRegistry<readonly Worker[]>(workers => {
  workers.forEach(worker => {
    worker.terminate();
  });
});
