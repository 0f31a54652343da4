import {Worker as NodeWorker} from 'node:worker_threads';
import {BINARY} from '../../src/backends/wasm/module/binary';
import {compiled, functionsOf} from '../../src/backends/wasm/module/module';
import {TRANSFORMER_BINARY} from '../../src/extensions/transformers/kernels/wasm/binary';
import type {TransformerFunctions} from '../../src/extensions/transformers/kernels/wasm/functions';
import {HELPER, MAX_CALLS, partsOf, Threads, webWorkers, type Workplace} from '../../src/backends/wasm/module/threads';

describe('parts', () => {
  test.each([
    [
      10,
      4,
      2,
      [
        [0, 8],
        [8, 2],
      ],
    ],
    [
      10,
      4,
      8,
      [
        [0, 4],
        [4, 4],
        [8, 2],
      ],
    ],
    [
      7,
      1,
      3,
      [
        [0, 2],
        [2, 3],
        [5, 2],
      ],
    ],
    [12, 12, 4, [[0, 12]]],
    [5, 8, 0, [[0, 5]]],
  ])('%p things in units of %p for %p threads', (count, unit, threads, expected) => {
    expect(partsOf(count, unit, threads)).toEqual(expected.map(([first, size]) => ({first, size})));
  });
});

/** The workers of Node by the interface of a page's. */
class PageWorker {
  static readonly all: PageWorker[] = [];
  private readonly worker: NodeWorker;

  constructor(_url: unknown, prelude = '') {
    const receive = "require('node:worker_threads').parentPort.on('message', data => globalThis.onmessage({data}));";
    this.worker = new NodeWorker(`${prelude}${HELPER}\n${receive}`, {eval: true});
    PageWorker.all.push(this);
  }

  /** Sends a message when the caller waits for something, so that it is not there before. */
  postMessage(message: unknown): void {
    queueMicrotask(() => {
      this.worker.postMessage(message);
    });
  }

  terminate(): void {
    void this.worker.terminate();
  }
}

/** A shared memory with our module in it, and a place from which on memory is free. */
function workplace(): Workplace & {module: WebAssembly.Module} {
  const memory = new WebAssembly.Memory({initial: 64, maximum: 65536, shared: true});
  const module = compiled(BINARY, memory)!;
  return {memory, module, modules: () => [module], allocate: () => 1024, owner: memory};
}

function withWorkers<T>(worker: unknown, f: () => T): T {
  const global = globalThis as {Worker?: unknown};
  const former = global.Worker;
  global.Worker = worker;
  try {
    return f();
  } finally {
    global.Worker = former;
  }
}

async function available(threads: Threads, count: number): Promise<void> {
  for (const end = Date.now() + 10_000; threads.available() === 1 && Date.now() < end;) {
    await new Promise(resolve => setTimeout(resolve, 5));
  }
  expect(threads.available()).toBe(count);
}

afterAll(() => {
  PageWorker.all.forEach(worker => {
    worker.terminate();
  });
});

test('threads compute what one computes, round after round', async () => {
  const place = workplace();
  const {memory, module} = place;
  const threads = withWorkers(PageWorker, () => Threads.start(webWorkers(3), place))!;
  expect(threads.available()).toBe(1);
  await available(threads, 3);
  const functions = functionsOf(module, memory);
  const count = 12_000;
  const [x, m, t, y] = [1e6, 2e6, 2e6 + 64, 3e6].map(address => Math.ceil(address / 64) * 64) as [
    number,
    number,
    number,
    number,
  ];
  const numbers = (at: number, size: number) => new Float32Array(memory.buffer, at, size);
  numbers(m, 4).set([2, 3, 4, 5]);
  numbers(t, 4).set([1, -1, 0, 0.5]);
  for (let round = 0; round < 300; round++) {
    numbers(x, count).forEach((_, i, all) => (all[i] = (i % 97) + round));
    numbers(y, count).fill(0);
    const parts = partsOf(count, 4, 3);
    threads.run(
      parts,
      (own, {first, size}) => {
        // In three calls, each of which takes what the one before gave.
        own.affine(x + 4 * first, m, 0, y + 4 * first, size, 4);
        own.affine(y + 4 * first, m, t, y + 4 * first, size, 4);
        own.clamp(y + 4 * first, y + 4 * first, size, -Infinity, 40);
      },
      functions,
      false,
    );
    const [scale, shift] = [
      [2, 3, 4, 5],
      [1, -1, 0, 0.5],
    ] as [number[], number[]];
    const wrong = numbers(y, count).findIndex((value, i) => {
      const factor = scale[i % 4]!;
      return value !== Math.min(40, ((i % 97) + round) * factor * factor + shift[i % 4]!);
    });
    expect(wrong).toBe(-1);
  }
});

test('they get the functions of another module in the midst of it', async () => {
  const place = workplace();
  const {memory, module} = place;
  const threads = withWorkers(PageWorker, () => Threads.start(webWorkers(2), place))!;
  const areThere = () => available(threads, 2);
  await areThere();
  const functions = functionsOf(module, memory);
  const another = compiled(TRANSFORMER_BINARY, memory)!;
  const beside = threads.add(another, functionsOf<TransformerFunctions>(another, memory));
  // Their message is sent once this function waits.
  expect(threads.available()).toBe(1);
  await areThere();
  const [x, y] = [1_000_000, 2_000_000].map(address => Math.ceil(address / 64) * 64) as [number, number];
  const numbers = (at: number) => new Float32Array(memory.buffer, at, 64);
  for (let round = 0; round < 50; round++) {
    numbers(x).forEach((_, i, all) => (all[i] = i + round));
    numbers(y).fill(1);
    threads.run(
      partsOf(64, 16, 4),
      (own, {first, size}) => {
        own.clamp(x + 4 * first, x + 4 * first, size, 5, 60);
        beside(own).addRows(x + 4 * first, y + 4 * first, 0, 1, size);
      },
      functions,
      false,
    );
    expect([...numbers(y)]).toEqual(Array.from({length: 64}, (_, i) => 1 + Math.min(60, Math.max(5, i + round))));
  }
});

test('parts of many calls take several rounds, and calls of another module are not fused ones', async () => {
  const place = workplace();
  const {memory, module} = place;
  // As if the engine had fused sums: the functions of another module come after those of both.
  const threads = withWorkers(PageWorker, () =>
    Threads.start(webWorkers(2), {...place, modules: () => [module, module]}),
  )!;
  await available(threads, 2);
  const functions = functionsOf(module, memory);
  const another = compiled(TRANSFORMER_BINARY, memory)!;
  const beside = threads.add(another, functionsOf<TransformerFunctions>(another, memory));
  await available(threads, 2);
  const [x, y] = [1_000_000, 2_000_000].map(address => Math.ceil(address / 64) * 64) as [number, number];
  const numbers = (at: number) => new Float32Array(memory.buffer, at, 64);
  numbers(x).fill(1);
  numbers(y).fill(0);
  const calls = MAX_CALLS + 3;
  for (const isFused of [true, false]) {
    threads.run(
      partsOf(64, 16, 2),
      (own, {first, size}) => {
        for (let i = 0; i < calls; i++) {
          beside(own).addRows(x + 4 * first, y + 4 * first, 0, 1, size);
        }
        own.clamp(y + 4 * first, y + 4 * first, size, 5, 2 * calls - 1);
      },
      functions,
      isFused,
    );
  }
  expect(new Set(numbers(y))).toEqual(new Set([2 * calls - 1]));
});

test('a round that fails, in a thread or in this one, says so, and the next goes on', async () => {
  const place = workplace();
  const {memory, module} = place;
  const threads = withWorkers(PageWorker, () => Threads.start(webWorkers(2), place))!;
  await available(threads, 2);
  const functions = functionsOf(module, memory);
  const [x, beyond] = [1_000_000, 2 ** 31];
  const run = (placeOf: (part: number) => number) => {
    threads.run(
      partsOf(64, 4, 16),
      (own, {first, size}, part) => {
        const at = placeOf(part) + 4 * first;
        own.clamp(at, at, size, 5, 60);
      },
      functions,
      false,
    );
  };
  for (const wrong of [(part: number) => part === 3, () => true]) {
    expect(() => {
      run(part => (wrong(part) ? beyond : x)); // beyond the end of the memory
    }).toThrow('A thread of the wasm kernels failed.');
    const numbers = new Float32Array(memory.buffer, x, 64);
    for (let round = 0; round < 20; round++) {
      numbers.forEach((_, i) => (numbers[i] = i + round));
      run(() => x);
      expect([...numbers]).toEqual(Array.from(numbers, (_, i) => Math.min(60, Math.max(5, i + round))));
    }
  }
});

describe('threads whose help', () => {
  let time = 1000;
  /** How long each of the calls that follow takes: computing, then waiting for the others. */
  let [computed, waited] = [0, 0];
  let threads: Threads;
  let round: () => void;

  beforeAll(async () => {
    const place = workplace();
    const {memory, module} = place;
    threads = withWorkers(PageWorker, () => Threads.start(webWorkers(2), place))!;
    await available(threads, 2);
    const functions = functionsOf(module, memory);
    const x = 1_000_000;
    const numbers = new Float32Array(memory.buffer, x, 64);
    round = () => {
      numbers.fill(70);
      // A round looks at the clock when it begins, when no parts are left to take, and when all are done.
      const steps = [0, computed, waited];
      const clock = jest.spyOn(performance, 'now').mockImplementation(() => (time += steps.shift() ?? 0));
      threads.run(
        partsOf(64, 32, 2),
        (own, {first, size}) => {
          own.clamp(x + 4 * first, x + 4 * first, size, 5, 60);
        },
        functions,
        false,
      );
      clock.mockRestore();
      expect(numbers.every(value => value === 60)).toBe(true);
    };
  });

  function availableAt(milliseconds: number): number {
    const clock = jest.spyOn(performance, 'now').mockReturnValue(milliseconds);
    const count = threads.available();
    clock.mockRestore();
    return count;
  }

  test('saves as much time as it costs are called on', () => {
    [computed, waited] = [5, 5];
    for (let i = 0; i < 50; i++) {
      round();
      expect(availableAt(time)).toBe(2);
    }
  });

  test('costs more than it saves, as where another process uses their core, are left alone for 20 times as long', () => {
    [computed, waited] = [2, 2.75];
    round();
    expect(availableAt(time)).toBe(2); // a loss of 0.75 ms may be chance
    round();
    const end = time;
    expect(availableAt(end)).toBe(1);
    expect(availableAt(end + 20 * 1.5 - 0.01)).toBe(1);
    expect(availableAt(end + 20 * 1.5 + 0.01)).toBe(2);
  });

  test('saved time before costs no less for it', () => {
    [computed, waited] = [100, 0];
    round();
    [computed, waited] = [2, 4];
    round();
    expect(availableAt(time)).toBe(1);
    expect(availableAt(time + 100)).toBe(2);
  });
});

test('threads sleep while there is nothing to do', async () => {
  const place = workplace();
  const threads = withWorkers(PageWorker, () => Threads.start(webWorkers(3), place))!;
  await available(threads, 3);
  // The count of rounds, which threads wait for, is the first word of the table. Those that wake look again, and sleep.
  const round = new Int32Array(place.memory.buffer, place.allocate(0), 1);
  let asleep = 0;
  for (let look = 0; asleep < 2 && look < 2000; look++) {
    await new Promise(resolve => setTimeout(resolve, 5));
    asleep = Atomics.notify(round, 0);
  }
  expect(asleep).toBe(2);
});

test('there are none where there is nothing to share', () => {
  const place = workplace();
  const own = {...place, memory: new WebAssembly.Memory({initial: 1})};
  expect(withWorkers(PageWorker, () => Threads.start(webWorkers(1), place))).toBeUndefined();
  expect(withWorkers(PageWorker, () => Threads.start(webWorkers(2), own))).toBeUndefined();
  expect(withWorkers(undefined, () => Threads.start(webWorkers(2), place))).toBeUndefined();
});

test('there are none where the page allows no workers, or memory is full', () => {
  const Forbidden = () => {
    throw new Error('Refused by the policy of the page.');
  };
  const place = workplace();
  expect(withWorkers(Forbidden, () => Threads.start(webWorkers(2), place))).toBeUndefined();
  expect(withWorkers(PageWorker, () => Threads.start(webWorkers(2), {...place, allocate: () => 0}))).toBeUndefined();
});
