// The code of a worker, as text. It receives the modules, the memory and the place of the table, and waits at the table
// for rounds. In a round it takes parts until none is left, and makes their calls.

/** Places in the table, in words: each in a line of the cache of its own. */
export const WORDS = {round: 0, remaining: 16, done: 32, ready: 48, failed: 64, parts: 80} as const;
/** Where the calls begin, in bytes, and how many numbers each has: the function's, and its arguments. */
export const CALLS = {begin: 1024, numbers: 24} as const;

/** How often a thread looks for a new round before it sleeps: for about the time between two operations. */
const LOOKS = 40_000;

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
    for (let part = Atomics.sub(words, ${WORDS.remaining}, 1); part > 0; part = Atomics.sub(words, ${WORDS.remaining}, 1)) {
      try {
        const at = ${WORDS.parts} + 2 * (part - 1);
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
