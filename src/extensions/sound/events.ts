import {checkNumber, checkOptions, LoRAError, show} from '../../platform/errors';

/** A sound that was detected, or that is known to be there. */
export interface SoundEvent {
  /** In seconds. */
  readonly time: number;
  /** What was heard. */
  readonly label: string;
}

/** The score of each class in one window of a sound. */
export interface WindowScores {
  /** Where the window is, in seconds. */
  readonly time: number;
  /** The score of each label. */
  readonly scores: Readonly<Record<string, number>>;
}

/** When a score is an event. */
export interface DetectOptions {
  /** The lowest score of an event, from 0 to 1: of all classes, or of each. Defaults to 0.5. */
  threshold?: number | Readonly<Record<string, number>>;
  /** Seconds after an event in which no other one of its class is detected. Defaults to 1. */
  coolDown?: number;
  /** Classes that are no events. Defaults to `['background']`. */
  ignore?: readonly string[];
}

/**
 * Makes a detector that turns the scores of consecutive windows into events: a class is detected when it has the
 * highest score of all, at least its threshold, and was not detected within the cool-down.
 *
 * @param options the threshold, the cool-down, and classes that are no events.
 * @returns a function that takes the scores of the next window and returns the event, if there is one.
 * @throws LoRAError `ERR_OPTION` if an option is out of range.
 * @example
 *     const detect = makeDetector({threshold: 0.8});
 *     const event = detect({time: 1.5, scores: {yes: 0.9, background: 0.1}}); // {time: 1.5, label: 'yes'}
 * @experimental
 */
export function makeDetector(options: DetectOptions = {}): (window: WindowScores) => SoundEvent | undefined {
  checkOptions(options, {threshold: true, coolDown: true, ignore: true});
  const {threshold = 0.5, coolDown = 1, ignore = ['background']} = options;
  const table = typeof threshold === 'object' && (threshold as unknown) !== null ? {...threshold} : undefined;
  for (const value of table === undefined ? [threshold] : Object.values(table)) {
    checkNumber(
      'threshold',
      value,
      Number(value) >= 0 && Number(value) <= 1,
      'a number from 0 to 1, or one for each class',
    );
  }
  checkNumber('coolDown', coolDown, coolDown >= 0, 'a number of seconds, 0 or more');
  if (!Array.isArray(ignore)) {
    throw new LoRAError(`ignore must be a list of classes, got ${show(ignore)}.`);
  }
  const latest = new Map<string, number>();
  return ({time, scores}) => {
    const [label, score] = Object.entries(scores).reduce(
      (best, entry) => (entry[1] > best[1] ? entry : best),
      ['', -Infinity],
    );
    const least = table === undefined ? Number(threshold) : (table[label] ?? Infinity);
    const isCool = time - (latest.get(label) ?? -Infinity) >= coolDown;
    if (ignore.includes(label) || !(score >= least) || !isCool) {
      return undefined;
    }
    latest.set(label, time);
    return {time, label};
  };
}

/** How well events were detected. */
export interface EventScores {
  /** Detected events that are right, of all detected ones; 1 if nothing was detected. */
  readonly precision: number;
  /** Known events that were detected, of all known ones; 1 if there are none. */
  readonly recall: number;
  /** How many detected events are wrong. */
  readonly falseAlarms: number;
}

/**
 * Scores detected events against those that are known to be there. A detected event is right if a known one of its
 * class is within the tolerance and has no other detected event.
 *
 * @param detected events that were detected.
 * @param known events that are there.
 * @param options `tolerance`: the most seconds between the two. Defaults to 0.5.
 * @returns precision, recall, and the number of false alarms.
 * @throws LoRAError `ERR_OPTION` if an argument is not a list of events, or an option is out of range.
 * @example
 *     const {recall} = scoreEvents([{time: 1.2, label: 'yes'}], [{time: 1, label: 'yes'}]); // 1
 * @experimental
 */
export function scoreEvents(
  detected: readonly SoundEvent[],
  known: readonly SoundEvent[],
  options: {tolerance?: number} = {},
): EventScores {
  checkOptions(options, {tolerance: true});
  const {tolerance = 0.5} = options;
  checkNumber('tolerance', tolerance, tolerance >= 0, 'a number of seconds, 0 or more');
  const [sortedDetected, open] = [sorted('detected', detected), sorted('known', known)];
  let right = 0;
  for (const {time, label} of sortedDetected) {
    const match = open.findIndex(event => event.label === label && Math.abs(event.time - time) <= tolerance);
    if (match >= 0) {
      open.splice(match, 1);
      right++;
    }
  }
  return {
    precision: sortedDetected.length === 0 ? 1 : right / sortedDetected.length,
    recall: known.length === 0 ? 1 : right / known.length,
    falseAlarms: sortedDetected.length - right,
  };
}

function sorted(name: string, events: readonly SoundEvent[]): SoundEvent[] {
  const isEvent = (event: unknown) => {
    const {time, label} = (event ?? {}) as Partial<SoundEvent>;
    return Number.isFinite(time) && typeof label === 'string';
  };
  const list: unknown = events;
  if (!Array.isArray(list) || !list.every(isEvent)) {
    throw new LoRAError(`${name} must be a list of events, {time, label}, got ${show(events)}.`);
  }
  return [...events].sort((one, other) => one.time - other.time);
}
