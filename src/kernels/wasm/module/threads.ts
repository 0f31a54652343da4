import {aligned, isShared, LINE, type NativeFunctions} from './module';

/** Places in the table, in words: each in a line of the cache of its own. */
const WORDS = {round: 0, remaining: 16, done: 32, ready: 48, failed: 64, parts: 80} as const;
/** Where the calls begin, in bytes, and how many numbers each has: the function's, and its arguments. */
const CALLS = {begin: 1024, numbers: 24} as const;

/** How often a thread looks for a new round before it sleeps: for about the time between two operations. */
const LOOKS = 40_000;

/**
 * The code of a worker. It receives the modules, the memory and the place of the table, and waits at the table for
 * rounds. In a round it takes parts until none is left, and makes their calls.
 */
export const HELPER = `
onmessage = ({data: {modules, memory, place}}) => {
  const functions = modules.flatMap(module => Object.values(new WebAssembly.Instance(module, {env: {memory}}).exports));
  const words = new Int32Array(memory.buffer, place, ${CALLS.begin / 4});
  const word = name => Atomics.load(words, name);
  Atomics.add(words, ${WORDS.ready}, 1);
  for (let round = 0; ; ) {
    for (let look = 0; word(${WORDS.round}) === round; look++) {
      if (look > ${LOOKS}) Atomics.wait(words, ${WORDS.round}, round);
    }
    round = word(${WORDS.round});
    for (let part; (part = Atomics.sub(words, ${WORDS.remaining}, 1)) > 0; ) {
      try {
        const at = ${WORDS.parts - 2} + 2 * part;
        for (let call = words[at]; call < words[at + 1]; call++) {
          const numbers = new Float64Array(memory.buffer, place + ${CALLS.begin} + call * ${8 * CALLS.numbers}, ${CALLS.numbers});
          functions[numbers[0]](...numbers.subarray(1));
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
const MOST_CALLS = 1024;

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
  private calls: (readonly [id: number, args: readonly number[]])[] = [];
  private round = 0;
  private isReady = false;

  private constructor(
    private readonly count: number,
    place: number,
    {memory, modules, owner}: Workplace,
  ) {
    const [exact, ...others] = modules();
    this.words = new Int32Array(memory.buffer, place, CALLS.begin / 4).fill(0);
    this.numbers = new Float64Array(memory.buffer, place + CALLS.begin, CALLS.numbers * MOST_CALLS);
    const names = WebAssembly.Module.exports(exact).map(({name}) => name);
    this.functionCount = names.length;
    this.recorder = Object.fromEntries(
      names.map((name, id) => [name, (...args: number[]) => this.calls.push([id, args])]),
    ) as unknown as NativeFunctions;
    this.url = URL.createObjectURL(new Blob([HELPER], {type: 'text/javascript'}));
    const workers = Array.from({length: count - 1}, () => {
      const worker = new Worker(this.url);
      worker.postMessage({modules: [exact, ...others], memory, place});
      return worker;
    });
    abandoned.register(owner, workers);
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
    if (!this.isReady && Atomics.load(this.words, WORDS.ready) === this.count - 1) {
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
    for (let i = this.takePart(); i >= 0; i = this.takePart()) {
      compute(functions, parts[i] as Part, i);
      Atomics.add(words, WORDS.done, 1);
    }
    while (Atomics.load(words, WORDS.done) < parts.length) {
      // The others are about to end: pages may not sleep, and it would take longer.
    }
    if (words[WORDS.failed] !== 0) {
      throw new Error('A thread of the wasm kernels failed.');
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
