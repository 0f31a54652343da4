/** Does once what is measured. */
export type Run = () => Promise<void>;

/** Something that is measured against others. */
export interface Contender {
  name: string;
  /** Runs it a number of times; milliseconds for each, by a clock. */
  sample: (repeats: number, clock: Clock) => Promise<number>;
}

/** What a contender took in each round; those that it sat out are holes. Or why it does not run at all. */
export type Outcome = {name: string; samples: (number | undefined)[]} | {name: string; error: string};

/**
 * What runs are timed by: the clock on the wall, or the time that the process computed. On a machine that others use
 * too, the second leaves out what the others took; it is no measure of a backend with threads, or with work beyond the
 * processor.
 */
export const CLOCKS = ['wall', 'cpu'] as const;
export type Clock = (typeof CLOCKS)[number];

export interface Plan {
  clock: Clock;
  rounds: number;
  /** A sample lasts at least about this long, in milliseconds: what is quick is repeated. */
  sampleMs: number;
}

/** The middle of many values, and how far they spread: half of them lie between `low` and `high`. */
export interface Summary {
  median: number;
  low: number;
  high: number;
  count: number;
}

/** A run that takes longer takes part only in every third round. */
const LONG_MS = 1000;

/** Milliseconds that each of `repeats` runs takes. */
export async function time(run: Run, repeats: number, clock: Clock = 'wall'): Promise<number> {
  const start = now(clock);
  for (let i = 0; i < repeats; i++) {
    await run();
  }
  return (now(clock) - start) / repeats;
}

/** Milliseconds by a clock. */
export function now(clock: Clock): number {
  if (clock === 'wall') {
    return performance.now();
  }
  const {user, system} = process.cpuUsage();
  return (user + system) / 1000;
}

/**
 * Measures contenders in turn, A B C A B C …, so that whatever else happens on the machine meets them all alike. The
 * first runs, which compile and allocate, are not counted.
 */
export async function measure(contenders: readonly Contender[], {clock, rounds, sampleMs}: Plan): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const racing: {
    contender: Contender;
    repeats: number;
    every: number;
    samples: (number | undefined)[];
  }[] = [];
  for (const contender of contenders) {
    const {name} = contender;
    try {
      const first = await contender.sample(1, clock);
      const typical = first > LONG_MS ? first : await contender.sample(2, clock);
      const samples = Array<number | undefined>(rounds).fill(undefined);
      const repeats = Math.max(1, Math.round(sampleMs / typical));
      racing.push({contender, repeats, every: typical > LONG_MS ? 3 : 1, samples});
      outcomes.push({name, samples});
    } catch (error) {
      outcomes.push({name, error: firstLine(error)});
    }
  }
  for (let round = 0; round < rounds; round++) {
    for (const {contender, repeats, every, samples} of racing) {
      if (round % every === 0) {
        samples[round] = await contender.sample(repeats, clock);
      }
    }
  }
  return outcomes;
}

/** What something took; `undefined` if it does not run, or was not measured. */
export function timeOf(outcomes: readonly Outcome[], name: string): Summary | undefined {
  return summarize(samplesOf(outcomes, name));
}

/** How many times as long one took as another. Values of one round are compared: the machine was the same for both. */
export function ratioOf(outcomes: readonly Outcome[], name: string, to: string): Summary | undefined {
  const below = samplesOf(outcomes, to);
  return summarize(samplesOf(outcomes, name).map((above, round) => divide(above, below[round])));
}

/** Several outcomes as one, what they took in a round added up. */
export function sumOf(outcomes: readonly Outcome[], name: string, parts: readonly string[]): Outcome {
  const [first = [], ...others] = parts.map(part => samplesOf(outcomes, part));
  return {name, samples: others.reduce((sums, samples) => sums.map((sum, round) => add(sum, samples[round])), first)};
}

function samplesOf(outcomes: readonly Outcome[], name: string): (number | undefined)[] {
  const outcome = outcomes.find(candidate => candidate.name === name);
  return outcome !== undefined && 'samples' in outcome ? outcome.samples : [];
}

function divide(above: number | undefined, below: number | undefined): number | undefined {
  return above === undefined || below === undefined ? undefined : above / below;
}

function add(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? undefined : one + other;
}

export function summarize(values: readonly (number | undefined)[]): Summary | undefined {
  const sorted = values.filter(value => value !== undefined).sort((a, b) => a - b);
  if (sorted.length === 0) {
    return undefined;
  }
  return {
    median: quantile(sorted, 0.5),
    low: quantile(sorted, 0.25),
    high: quantile(sorted, 0.75),
    count: sorted.length,
  };
}

function quantile(sorted: readonly number[], fraction: number): number {
  const position = (sorted.length - 1) * fraction;
  const [below, above] = [sorted[Math.floor(position)]!, sorted[Math.ceil(position)]!];
  return below + (above - below) * (position % 1);
}

export function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0]!;
}
